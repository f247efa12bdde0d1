//! The users of this machine, as `/etc/passwd` lists them. Users that only a directory service
//! knows are unknown here.

use std::fs;
use std::io;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home folder.
    pub home: String,
}

/// The users of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: Vec<User>,
}

impl Users {
    /// Reads `/etc/passwd`.
    ///
    /// # Errors
    /// What the system says if the file cannot be read.
    pub fn of_system() -> io::Result<Self> {
        Ok(Self::parse(&String::from_utf8_lossy(&fs::read("/etc/passwd")?)))
    }

    /// Reads the text of a password file; lines that are no users are left out.
    pub fn parse(text: &str) -> Self {
        Self { users: text.lines().filter_map(parse_line).collect() }
    }

    /// The first user of that name.
    pub fn by_name(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The first user of that id.
    pub fn by_uid(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }
}

fn parse_line(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
    Some(User { name: name.to_owned(), uid, gid, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_left_out() {
        let users = Users::parse(
            "root:x:0:0:root:/root:/bin/bash\n\n# x:x:1:1::/:\n+::::::\nwww:x:33:34:,,:/var/www:/x\nn:x:9:9:::\n",
        );
        assert_eq!(users.by_name("root").map(|user| user.home.as_str()), Some("/root"));
        assert_eq!(users.by_uid(33).map(|user| (user.name.as_str(), user.gid)), Some(("www", 34)));
        assert_eq!(users.by_name("n").map(|user| user.home.as_str()), Some("/"));
        assert_eq!(users.users.len(), 3);
    }
}
