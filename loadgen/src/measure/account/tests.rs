//! What is written down, job by job, without a target.

use super::*;

fn account(change: impl FnOnce(&mut Options)) -> Account {
    let mut options = Options::new(1000);
    change(&mut options);
    let account = Account::new(&options);
    assert!(account.gate.enter(1000, || false));
    account.submitting(1000);
    account.measure_from(0);
    account
}

fn sent(numbers: Range<u32>, planned_ns: Vec<u64>) -> Sent {
    Sent { numbers, called_ns: clock::mono_ns(), planned_ns }
}

fn count(account: &Account, metric: Metric) -> u64 {
    account.lanes.sums(metric).iter().sum()
}

#[test]
fn a_refused_job_is_counted_and_not_acked() {
    let account = account(|_| ());
    let refusal = Err("too many kinds".to_owned());
    let reply = Ok(vec![Ok(1), refusal.clone(), refusal, Ok(2), Ok(3)]);
    account.answered(&sent(10..15, Vec::new()), reply);
    assert_eq!((account.answers(), account.refused()), (5, 2));
    assert!(account.first_refusal().unwrap().contains("kinds"));
    assert_eq!(account.missing().collect::<Vec<_>>(), [10, 13, 14]);
    assert_eq!((account.backlog(), count(&account, Metric::Submit)), (3, 3));
    assert_eq!(account.failure(), None);
}

#[test]
fn a_batch_of_unknown_fate_is_not_acked_and_ends_the_run() {
    let account = account(|_| ());
    account.answered(&sent(0..4, Vec::new()), Err("gone".to_owned()));
    assert_eq!((account.answers(), account.refused(), account.backlog()), (4, 0, 0));
    assert!(account.is_given_up() && account.failure().is_some());
}

#[test]
fn an_open_loop_counts_from_the_planned_moment_and_not_what_warms_up() {
    let account = account(|_| ());
    account.measured_from.store(1, Ordering::Relaxed);
    let planned_ns = clock::mono_ns() - 1_000_000_000;
    account.answered(&sent(0..2, vec![planned_ns; 2]), Ok(vec![Ok(1), Ok(2)]));
    let sums = account.lanes.sums(Metric::Submit);
    let mut histogram = tickwheel_engine::latency::histogram();
    crate::measure::Cells::carry_over(&[], &sums, &mut histogram);
    assert_eq!(histogram.len(), 1);
    assert!(histogram.min() >= 999_000_000, "{}", histogram.min());
    assert_eq!(count(&account, Metric::SubmitRaw), 1);
}

fn payload(number: u32, due_ns: u64) -> Vec<u8> {
    let mut payload = vec![0; 100];
    payload::compose(1, number, &mut payload);
    payload::set_moments(&mut payload, 0, due_ns);
    payload
}

#[test]
fn a_run_is_written_down_with_what_is_wrong_with_it() {
    let account = account(|_| ());
    assert_eq!(account.handle(&payload(3, 0), 1, None, || false), Ended::Well);
    assert_eq!(account.handle(&payload(3, 0), 2, None, || false), Ended::Well);
    assert_eq!(account.completed(), 1);
    account.handle(&payload(4, u64::MAX), 1, None, || false);
    let mut broken = payload(5, 0);
    broken[50] ^= 1;
    assert!(matches!(account.handle(&broken, 1, None, || false), Ended::Dead(_)));
    let balance = account.ledger.balance();
    assert_eq!((balance.ran, balance.duplicate, balance.early), (2, 1, 1));
    assert_eq!(account.damaged(), 1);
    assert!(account.early_max_ns() > 0);
    assert_eq!(count(&account, Metric::Lateness), 2);
}

#[test]
fn a_job_that_is_meant_to_fail_does_so_once() {
    let account = account(|options| options.workload.outcomes.fail = 1.0);
    assert!(matches!(account.handle(&payload(0, 0), 1, None, || false), Ended::Failed(_)));
    assert!(!account.ledger.has_run(0));
    assert_eq!(account.handle(&payload(0, 0), 2, None, || false), Ended::Well);
    assert_eq!((account.misbehaved(), account.completed()), (1, 1));
    let crash = self::account(|options| options.workload.outcomes.crash = 1.0);
    assert_eq!(crash.handle(&payload(0, 0), 1, None, || false), Ended::Crash);
    let hang = self::account(|options| options.workload.outcomes.hang = 1.0);
    assert!(matches!(hang.handle(&payload(0, 0), 1, None, || true), Ended::Hung(_)));
}

#[test]
fn a_run_after_an_acknowledged_cancel_is_seen() {
    let account = account(|options| options.workload.cancel = 1.0);
    let (sender, asked) = std::sync::mpsc::channel();
    account.set_canceller(Some(sender));
    account.answered(&sent(0..2, Vec::new()), Ok(vec![Ok(70), Ok(71)]));
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [(0, 70), (1, 71)]);
    account.cancel_answered(0, true);
    account.cancel_answered(1, false);
    assert_eq!(account.missing().collect::<Vec<_>>(), [1]);
    assert_eq!((account.cancelled(), account.ran_after_cancel()), (1, 0));
    account.handle(&payload(0, 0), 1, None, || false);
    assert_eq!((account.ran_though_cancelled(), account.ran_after_cancel()), (1, 1));
}

#[test]
fn a_job_that_was_asked_for_before_its_cancel_was_acknowledged_may_run() {
    let account = account(|options| options.workload.cancel = 1.0);
    let (sender, _asked) = std::sync::mpsc::channel();
    account.set_canceller(Some(sender));
    account.answered(&sent(0..2, Vec::new()), Ok(vec![Ok(70), Ok(71)]));
    let asked_ns = Some(clock::mono_ns());
    account.cancel_answered(0, true);
    account.handle(&payload(0, 0), 1, asked_ns, || false);
    assert_eq!((account.ran_though_cancelled(), account.ran_after_cancel()), (1, 0));
    // One that ran first is not counted as cancelled, whatever the answer says.
    account.handle(&payload(1, 0), 1, asked_ns, || false);
    account.cancel_answered(1, true);
    assert_eq!((account.cancelled(), account.completed()), (1, 2));
    assert_eq!((account.backlog(), account.missing().count()), (0, 0));
}
