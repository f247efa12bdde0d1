//! What a crontab takes from the machine that it runs on: its users, its time zone, and who this
//! server is.

use std::env;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;

use rustix::process::{getegid, geteuid};
use tickwheel_engine::cron::zone_exists;

use super::{User, Users};
use crate::config::limits;

/// The machine and the server's place on it. A plain value, so that tests make their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Who may be named in the user column.
    pub users: Users,
    /// Who the server is.
    pub server: User,
    /// The time zone that entries follow until `CRON_TZ` says otherwise.
    pub zone: String,
}

impl Host {
    /// This machine. The zone is that of `TZ`, else of `/etc/localtime`, else of `/etc/timezone`,
    /// else UTC.
    pub fn detect() -> Self {
        // Without the file nobody can be named, and the message for that says so.
        let users = Users::of_system().unwrap_or_default();
        let uid = geteuid().as_raw();
        let server = users.by_uid(uid).cloned().unwrap_or_else(|| User {
            name: format!("uid {uid}"),
            uid,
            gid: getegid().as_raw(),
            home: env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        });
        Self { users, server, zone: local_zone() }
    }

    /// Why a system crontab is not to be trusted: as root it could run commands as anyone, so
    /// nobody else may be able to change it.
    pub(super) fn distrusts(&self, file: &Metadata) -> Option<&'static str> {
        if self.server.uid != 0 {
            None
        } else if file.uid() != 0 {
            Some("it does not belong to root, and would run commands as root; chown it")
        } else if file.mode() & 0o022 != 0 {
            Some("others than root may write to it, and so run commands as root; chmod go-w it")
        } else {
            None
        }
    }
}

fn local_zone() -> String {
    let from_variable = env::var("TZ").ok().map(|zone| zone.trim_start_matches(':').to_owned());
    let candidates = [from_variable, localtime_link(), fs::read_to_string("/etc/timezone").ok()];
    candidates
        .into_iter()
        .flatten()
        .map(|zone| zone.trim().to_owned())
        .find(|zone| zone_exists(zone))
        .unwrap_or_else(|| limits::ZONE_DEFAULT.to_owned())
}

/// The name at the end of the link, such as `Europe/Berlin` of `/usr/share/zoneinfo/Europe/Berlin`.
fn localtime_link() -> Option<String> {
    let target = fs::read_link("/etc/localtime").ok()?;
    let (_, zone) = target.to_str()?.rsplit_once("zoneinfo/")?;
    Some(zone.to_owned())
}
