//! Random operations against a plain list of what was appended.

use proptest::prelude::*;
use tickwheel_wal::{Durability, Log};

use crate::fixture::{Fixture, Records, payload};

#[derive(Clone, Debug)]
enum Operation {
    Append { len: usize },
    Commit,
    Wait,
    MarkIdle,
    Read { pick: prop::sample::Index },
    Drop,
    Close,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        20 => (0_usize..400).prop_map(|len| Operation::Append { len }),
        10 => (0_usize..16_000).prop_map(|len| Operation::Append { len }),
        8 => Just(Operation::Commit),
        2 => Just(Operation::Wait),
        2 => Just(Operation::MarkIdle),
        5 => any::<prop::sample::Index>().prop_map(|pick| Operation::Read { pick }),
        1 => Just(Operation::Drop),
        1 => Just(Operation::Close),
    ]
}

struct Run {
    fixture: Fixture,
    durability: Durability,
    log: Option<Log>,
    model: Records,
    epoch: u64,
}

impl Run {
    fn reopen(&mut self) {
        let options = self.fixture.options().durability(self.durability);
        let (log, replayed) = self.fixture.try_open(options).unwrap();
        assert!(replayed == self.model, "replayed {} of {}", replayed.len(), self.model.len());
        self.epoch += 1;
        assert_eq!(log.recovery().epoch, self.epoch);
        assert_eq!(log.recovery().torn_bytes, 0);
        self.log = Some(log);
    }

    fn step(&mut self, number: usize, operation: &Operation) {
        let log = self.log.as_mut().unwrap();
        match operation {
            Operation::Append { len } => {
                let content = payload(number, *len);
                let appended = self.fixture.append(log, &content);
                self.model.push((appended.lsn, content));
            }
            Operation::Commit => {
                assert_eq!(log.commit(), log.appended());
            }
            Operation::Wait => {
                let published = log.commit();
                if self.durability != Durability::Os {
                    self.fixture.wait_durable(log, published);
                }
            }
            Operation::MarkIdle => {
                // One that writes nothing may be followed by one that does: a sync has ended meanwhile.
                if log.mark_idle() {
                    assert!(!log.mark_idle());
                }
                if self.durability == Durability::Sync {
                    let published = log.commit();
                    self.fixture.wait_durable(log, published);
                    log.mark_idle();
                    assert!(!log.mark_idle());
                }
            }
            Operation::Read { pick } => {
                if !self.model.is_empty() {
                    let (lsn, content) = pick.get(&self.model);
                    assert_eq!(&log.read(*lsn).unwrap()[..], content);
                }
            }
            Operation::Drop => {
                self.log = None;
                self.reopen();
            }
            Operation::Close => {
                self.log.take().unwrap().close().unwrap();
                self.reopen();
                assert!(self.log.as_ref().unwrap().recovery().clean_shutdown);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_log_holds_what_was_appended(
        operations in prop::collection::vec(operation(), 1..120),
        os in any::<bool>(),
    ) {
        let durability = if os { Durability::Os } else { Durability::Sync };
        let mut run =
            Run { fixture: Fixture::new(), durability, log: None, model: Vec::new(), epoch: 0 };
        run.reopen();
        for (number, operation) in operations.iter().enumerate() {
            run.step(number, operation);
        }
        run.log = None;
        run.reopen();
    }
}
