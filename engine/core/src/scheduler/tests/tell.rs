//! Facts: live and on a replay the same ones, from where somebody has them already.

use super::*;
use crate::fact::{AttemptOutcome, Fact, Facts};

/// The positions and bytes of what was told.
fn told(facts: Option<Facts>) -> Vec<(Lsn, Vec<u8>)> {
    facts.iter().flat_map(Facts::iter).map(|(lsn, fact)| (lsn, fact.to_vec())).collect()
}

fn replay(journal: &Memory, tell: Tell) -> Vec<(Lsn, Vec<u8>)> {
    let now = World::new().now;
    let mut core = Scheduler::new(Config::new(ShardId(0)), now);
    core.tell(tell, []);
    for (number, event) in journal.events.iter().enumerate() {
        core.replay(Lsn(number as u64), event).unwrap();
    }
    told(core.take_facts())
}

#[test]
fn a_replay_tells_the_same_from_wherever_it_is_asked() {
    let mut world = World::new();
    let tell = Tell { adds: true, starts: true, ..Tell::default() };
    world.core.tell(tell, []);
    for _ in 0..3 {
        world.submit(&job());
    }
    let dispatches = world.pass(TICK_NS);
    let attempts: Vec<Attempt> = dispatches.iter().map(|dispatch| dispatch.attempt).collect();
    let (now, input) = (world.now, Input::Succeeded { attempts: &attempts });
    world.core.step(now, input, &mut world.journal, &mut Outputs::default());
    let all = told(world.core.take_facts());
    assert_eq!((all.len(), world.core.facts_bytes()), (9, 0));
    assert_eq!(world.core.take_facts(), None);
    assert_eq!(replay(&world.journal, tell), all);
    // Three ends have one position: who has some of them is told the others.
    let last = all[8].0;
    for skip in 0..3 {
        let rest = replay(&world.journal, Tell { from: last, skip, ..tell });
        assert_eq!(rest, all[6 + skip as usize..]);
    }
    let ends = replay(&world.journal, Tell::default());
    assert_eq!(ends, all[6..]);
    for (_, bytes) in &ends {
        let Ok(Fact::Ended(ended)) = Fact::decode(bytes) else { panic!("{bytes:?}") };
        assert_eq!(
            (ended.outcome, ended.attempt, ended.job.kind),
            (AttemptOutcome::Succeeded, 1, "send_email")
        );
        assert_eq!(ended.start, Some(ended.at));
        assert!(Fact::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Fact::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn who_is_told_nothing_gets_nothing_and_beginnings_are_handed_on() {
    let mut world = World::new();
    world.submit(&job());
    assert_eq!((world.core.take_facts(), world.core.facts_bytes()), (None, 0));
    world.core.tell(Tell::default(), []);
    let dispatch = world.pass(TICK_NS)[0];
    world.core.tell_under_way(Lsn(77));
    let under_way = told(world.core.take_facts());
    let [(Lsn(77), bytes)] = &*under_way else { panic!("{under_way:?}") };
    let start = world.now.wall.0;
    let attempt = dispatch.attempt;
    let expected = Fact::UnderWay { job: attempt.job.0, token: attempt.token.0, start };
    assert_eq!(Fact::decode(bytes), Ok(expected));
    // Another state takes over, which knows beginnings from elsewhere.
    world.core.tell(Tell::default(), [(attempt.job, attempt.token, WallTime(5))]);
    world.complete(dispatch, Outcome::Retryable("not yet"));
    let ends = told(world.core.take_facts());
    let Ok(Fact::Ended(ended)) = Fact::decode(&ends[0].1) else { panic!("{ends:?}") };
    assert_eq!((ended.start, ended.message), (Some(5), "not yet"));
}
