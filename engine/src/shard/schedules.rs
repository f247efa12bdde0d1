//! What a shard does for callers that change schedules. What follows from them is the core's business.

use tickwheel_core::{Answer, Input, Now};

use super::{CALLER, Message, Shard};

impl Shard {
    pub(super) fn take_of_schedule(&mut self, now: Now, message: Message) {
        match message {
            Message::PutSchedule { schedule, reply } => {
                let input = Input::PutSchedule { caller: CALLER, schedule: &schedule };
                self.call(now, input, reply, |answer| match answer {
                    Answer::SchedulePut(next) => Some(next),
                    _ => None,
                });
            }
            Message::RemoveSchedule { name, reply } => {
                let input = Input::RemoveSchedule { caller: CALLER, name: &name };
                self.call(now, input, reply, |answer| match answer {
                    Answer::ScheduleRemoved(was_there) => Some(was_there),
                    _ => None,
                });
            }
            Message::PauseSchedule { name, note, reply } => {
                let input = match &note {
                    Some(note) => Input::PauseSchedule { caller: CALLER, name: &name, note },
                    None => Input::ResumeSchedule { caller: CALLER, name: &name },
                };
                self.call(now, input, reply, |answer| match answer {
                    Answer::ScheduleSet(is_there) => Some(is_there),
                    _ => None,
                });
            }
            Message::RunSchedule { name, reply } => {
                let input = Input::RunSchedule { caller: CALLER, name: &name };
                self.call(now, input, reply, |answer| match answer {
                    Answer::ScheduleRun(job) => Some(job),
                    _ => None,
                });
            }
            Message::Backfill { name, from, to, reply } => {
                let input = Input::Backfill { caller: CALLER, name: &name, from, to };
                self.call(now, input, reply, |answer| match answer {
                    Answer::Backfilled(done) => Some(done),
                    _ => None,
                });
            }
            _ => unreachable!("the caller has looked"),
        }
    }
}
