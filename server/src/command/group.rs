//! A process group as a whole: signals to all of it, and whether any of it lives.
//!
//! The group's id is that of its leader. As long as the leader is not reaped, even as a zombie,
//! the system cannot give that id to another process, so a signal never reaches a stranger.
//! Callers must therefore reap the leader last.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The process group of a child that is not reaped yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    leader: Pid,
}

impl Group {
    pub(super) fn of(leader: Pid) -> Self {
        Self { leader }
    }

    /// Sends a signal to every member. One that is gone or belongs to somebody else is no error
    /// here: what matters is whether the group ends, and that is looked at.
    pub(super) fn signal(self, signal: Signal) {
        let _ = kill_process_group(self.leader, signal);
    }

    /// Whether the leader has ended. It stays unreaped.
    pub(super) fn leader_ended(self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.leader), options) {
                Ok(status) => return status.is_some(),
                Err(Errno::INTR) => {}
                // No such child: somebody else reaped it, so it has ended.
                Err(_) => return true,
            }
        }
    }

    /// Whether a member other than the leader still runs. Where `/proc` cannot be read the
    /// answer is no, and the caller's final SIGKILL ends what there may be.
    pub(super) fn others_alive(self) -> bool {
        let Ok(entries) = fs::read_dir("/proc") else {
            return false;
        };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                return false;
            };
            pid != self.leader.as_raw_nonzero().get()
                && fs::read_to_string(entry.path().join("stat"))
                    .is_ok_and(|stat| is_live_member(&stat, self.leader.as_raw_nonzero().get()))
        })
    }
}

/// Reads a line of `/proc/PID/stat`: `pid (name) state ppid pgrp …`; the name may hold anything.
fn is_live_member(stat: &str, group: i32) -> bool {
    let Some((_, after_name)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next().unwrap_or("X");
    let process_group = fields.nth(1).and_then(|field| field.parse::<i32>().ok());
    !matches!(state, "Z" | "X" | "x") && process_group == Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_name() {
        assert!(is_live_member("12 (a b) S) 7) S 1 12 12 0", 12));
        assert!(is_live_member("13 (sleep) S 12 12 12 0", 12));
        assert!(!is_live_member("13 (sleep) Z 12 12 12 0", 12), "a zombie does not run");
        assert!(!is_live_member("13 (sleep) S 12 13 12 0", 12), "another group");
        assert!(!is_live_member("", 12));
    }
}
