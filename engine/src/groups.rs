//! Groups of a queue, tenants for example, as a program that embeds the engine sees and limits them.
//!
//! All jobs of a group live in one shard, so what holds for a group is exact. This file knows the calls; which shard
//! that is, is `route.rs`'s, and what a turn or limit means is decided by the core.

use tickwheel_core::{self as core, GroupsView, Refusal};

use crate::{
    engine::{Engine, open_or_left_out},
    error::CallError,
    queue::QueueLimits,
    route,
    schedule::Schedule,
    shard::Message,
};

/// The groups of a queue, as [`Engine::groups`] finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupsInfo {
    /// Groups with a job that has not ended, or with a rate of which something is spent.
    pub live: u64,
    /// Limits of each group that has none of its own.
    pub limits: QueueLimits,
    /// Some of the live groups: those with the most jobs first, equal ones by name.
    pub busiest: Vec<GroupInfo>,
}

/// A group of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: Box<str>,
    /// Jobs that are due and wait.
    pub ready: u64,
    /// Jobs that have not ended and are not under way, due or not.
    pub waiting: u64,
    /// Attempts under way, by executors and fetched.
    pub running: u64,
    /// Its limits: its own, else those of each group of the queue.
    pub limits: QueueLimits,
}

impl Engine {
    /// Gives limits to each group of a queue that has none of its own, in the place of those that it had;
    /// [`QueueLimits::new`] takes them away. They hold for each group alone, and for all shards together. The
    /// weight is also that of the jobs that name no group; the other limits are not for these. It stays so
    /// over a restart. `false` when all shards had these limits already.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tickwheel_engine::{Engine, NewJob, QueueLimits};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::builder().data_dir(dir.path()).segment_bytes(8 << 20).handler("mail", |_: &_| Ok(())).start()?;
    /// // Of each tenant two mails are sent at a time; acme has paid for more.
    /// engine.limit_groups("mail", &QueueLimits::new().concurrency(2))?;
    /// engine.limit_group("mail", "acme", Some(&QueueLimits::new().concurrency(10).weight(4)))?;
    /// engine.submit(NewJob::new("mail").queue("mail").group("acme"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A limit is out of its range, or the call was refused for another reason, or the engine takes nothing more; some
    /// shards may have taken the limits. With [`CallError::ShardClosed`] all open shards have: repeat it when that one is
    /// open again.
    pub fn limit_groups(&self, queue: &str, limits: &QueueLimits) -> Result<bool, CallError> {
        self.set_everywhere(|shard| self.send_group_limits(shard, (queue, None), Some(limits)))
    }

    /// Gives one group of a queue limits of its own, in the place of all that it had; `None` takes them away, so
    /// that it has those of [`Engine::limit_groups`] again. The group need not have a job. Up to 65,536 groups per shard may
    /// have limits of their own. It stays so over a restart. `false` when it was so already.
    ///
    /// # Errors
    /// A limit is out of its range, there are too many groups with limits, the shard of the group is closed, or the
    /// engine takes nothing more.
    pub fn limit_group(
        &self,
        queue: &str,
        group: &str,
        limits: Option<&QueueLimits>,
    ) -> Result<bool, CallError> {
        let shard = route::shard_of_group(queue, group, self.shards());
        self.send_group_limits(shard, (queue, Some(group)), limits)
    }

    fn send_group_limits(
        &self,
        shard: usize,
        (queue, group): (&str, Option<&str>),
        limits: Option<&QueueLimits>,
    ) -> Result<bool, CallError> {
        let (queue, group) = (queue.to_owned(), group.map(str::to_owned));
        let limits = limits.map(|limits| limits.inner);
        self.call(shard, |reply| Message::LimitGroups { queue, group, limits, reply })
    }

    /// The groups of a queue in all open shards, with at most `max` and 1000 of them: those with the most jobs. It
    /// takes a shard time in proportion to its live groups: some milliseconds for as many as there may be.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn groups(&self, queue: &str, max: usize) -> Result<GroupsInfo, CallError> {
        let mut groups = GroupsInfo::default();
        let views =
            self.ask_open(|reply| Message::Groups { queue: queue.to_owned(), max, reply })?;
        for GroupsView { live, limits, busiest } in views {
            groups.live += live;
            // Shards differ only where a call that set limits failed half-way.
            if limits != core::QueueLimits::default() {
                groups.limits.inner = limits;
            }
            groups.busiest.extend(busiest.into_iter().map(GroupInfo::from));
        }
        let jobs = |group: &GroupInfo| group.waiting + group.running;
        groups.busiest.sort_by(|a, b| jobs(b).cmp(&jobs(a)).then_with(|| a.name.cmp(&b.name)));
        groups.busiest.truncate(max.min(core::limits::GROUPS_LISTED_MAX));
        Ok(groups)
    }

    /// The shard that has the schedule of this name, or is to have it if none does. A schedule whose job has a group
    /// is where the group is, so all shards may have to be asked.
    pub(crate) fn shard_of_schedule(&self, name: &str) -> Result<usize, CallError> {
        let home = route::shard_of_name(name, self.shards());
        Ok(self.find_schedule(name, home)?.unwrap_or(home))
    }

    /// The open shard that has the schedule of this name; `first` is asked first.
    fn find_schedule(&self, name: &str, first: usize) -> Result<Option<usize>, CallError> {
        let others = (0..self.shards()).filter(|shard| *shard != first);
        if self.shards() == 1 {
            return Ok(Some(first));
        }
        for shard in std::iter::once(first).chain(others) {
            let name = name.to_owned();
            let seen = self.ask(shard, |reply| Message::Schedule { name, reply });
            if open_or_left_out(seen)?.flatten().is_some() {
                return Ok(Some(shard));
            }
        }
        Ok(None)
    }

    /// The shard that a schedule is put into.
    pub(crate) fn shard_to_put(&self, schedule: &Schedule) -> Result<usize, CallError> {
        let home = route::home_of_schedule(&schedule.inner, self.shards());
        match self.find_schedule(schedule.name(), home)? {
            Some(shard) if shard != home => Err(Refusal::Schedule(
                "the one of this name is in another shard, which its job's group says: remove that first",
            )
            .into()),
            _ => Ok(home),
        }
    }
}

impl From<core::GroupView> for GroupInfo {
    fn from(view: core::GroupView) -> Self {
        let core::GroupView { name, ready, waiting, running, limits } = view;
        Self { name, ready, waiting, running, limits: QueueLimits { inner: limits } }
    }
}
