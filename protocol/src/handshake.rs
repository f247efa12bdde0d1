//! The handshake: what the server says first, what the client answers, and the proof of a password.
//! It must not know sockets, nor where a password is kept.

use std::{borrow::Cow, fmt, num::NonZeroU16};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    command::{RequestError, name, object},
    json::{self, ArrayError, Text},
    limits,
};

/// Version of the protocol.
const VERSION: u32 = 2;

/// A password. Its text is never shown by `Debug`.
#[derive(Clone)]
pub struct Password(Box<str>);

impl Password {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a client sends in place of a password. It is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash<'a>(Cow<'a, str>);

impl fmt::Debug for PasswordHash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// What a server asks of a client that has to know the password.
///
/// ```
/// use tickwheel_protocol::{Challenge, Password};
///
/// let challenge = Challenge { rounds: 1545, salt: "55104dc76695721d".into() };
/// let hash = challenge.hash(&Password::new("foobar"), 2);
/// assert!(challenge.is_met(&Password::new("foobar"), Some(&hash), 2));
/// assert!(!challenge.is_met(&Password::new("foobaz"), Some(&hash), 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// Rounds of SHA-256: 1 to 1,000,000.
    pub rounds: u32,
    /// Drawn anew for each connection. Letters and digits: it must not hold spaces or quotes.
    pub salt: Cow<'a, str>,
}

impl Challenge<'_> {
    /// What a client of the given version answers: lower-case hex. Below version 2, which knew no
    /// rounds, one round counts.
    #[must_use]
    pub fn hash(&self, password: &Password, version: u32) -> PasswordHash<'static> {
        let mut digest = Sha256::new()
            .chain_update(password.0.as_bytes())
            .chain_update(self.salt.as_bytes())
            .finalize();
        if version >= VERSION {
            for _ in 1..self.rounds {
                digest = Sha256::digest(digest);
            }
        }
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        let hex = digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        PasswordHash(Cow::Owned(hex))
    }

    /// Whether `hash` proves that its sender knows `password`, in a time that does not depend on how
    /// much of it is right.
    #[must_use]
    pub fn is_met(
        &self,
        password: &Password,
        hash: Option<&PasswordHash<'_>>,
        version: u32,
    ) -> bool {
        let expected = self.hash(password, version);
        let given = hash.map_or("", |hash| &hash.0);
        expected.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The server's first line, `HI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// What a client has to answer; `None` if there is no password.
    pub challenge: Option<Challenge<'a>>,
    /// Whether the server knows the commands that this protocol adds: `FETCHB` and its kin.
    pub is_tickwheel: bool,
}

/// Why a server's greeting was not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// It does not begin with `HI`.
    #[error("the server did not greet with HI; check that the address is that of a work server")]
    NoHi,
    /// It is not the JSON that was expected.
    #[error("the server's greeting is not right: {0}")]
    Json(#[from] serde_json::Error),
    /// It speaks another version.
    #[error("the server speaks version {found} of the work protocol, version 2 is needed")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It asks for no round, or for more than a client is willing to compute.
    #[error("the server asks for {rounds} rounds of hashing, 1 to 1000000 are allowed")]
    Rounds {
        /// What it asks for.
        rounds: u64,
    },
}

impl<'a> Greeting<'a> {
    /// Appends the greeting as a reply. Its JSON holds no space, at which some clients split it.
    ///
    /// # Panics
    /// If the salt has anything but ASCII letters and digits, or the rounds are out of their range.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+HI {\"v\":2");
        if let Some(Challenge { rounds, salt }) = &self.challenge {
            assert!(
                salt.bytes().all(|b| b.is_ascii_alphanumeric()),
                "a salt is letters and digits"
            );
            assert!((1..=limits::HASH_ROUNDS_MAX).contains(rounds), "rounds are 1 to 1000000");
            out.extend_from_slice(format!(r#","i":{rounds},"s":"{salt}""#).as_bytes());
        }
        if self.is_tickwheel {
            out.extend_from_slice(b",\"tw\":1");
        }
        out.extend_from_slice(b"}\r\n");
    }

    /// Reads the text of the server's first reply.
    ///
    /// # Errors
    /// What is wrong with it; the connection is of no use then.
    pub fn parse(text: &'a str) -> Result<Self, GreetingError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            v: u32,
            i: Option<u64>,
            #[serde(borrow)]
            s: Option<Text<'a>>,
            tw: Option<u32>,
        }
        let json = text.strip_prefix("HI ").ok_or(GreetingError::NoHi)?;
        let wire: Wire<'a> = serde_json::from_str(json)?;
        if wire.v != VERSION {
            return Err(GreetingError::Version { found: wire.v });
        }
        let rounds = wire.i.unwrap_or(1);
        let is_right = (1..=u64::from(limits::HASH_ROUNDS_MAX)).contains(&rounds);
        if !is_right {
            return Err(GreetingError::Rounds { rounds });
        }
        let challenge = wire.s.map(|Text(salt)| Challenge { rounds: rounds as u32, salt });
        Ok(Self { challenge, is_tickwheel: wire.tw.is_some_and(|version| version > 0) })
    }
}

/// The client's answer, as a server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Version of the protocol that the client speaks; 0 if it does not say.
    pub version: u32,
    /// The proof that it knows the password.
    pub password_hash: Option<PasswordHash<'a>>,
    /// Who it is.
    pub identity: Identity<'a>,
}

/// What a client says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity<'a> {
    /// Its machine: at most 255 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Cow<'a, str>>,
    /// A worker's own id: 1 to 255 bytes. A client without one is a producer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wid: Option<Cow<'a, str>>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// What it calls itself: at most 64, each at most 255 bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Cow<'a, str>>,
    /// Its share beside other workers where the server gives jobs by weight: 1 to 65,535. An extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<NonZeroU16>,
    /// Name of its user: at most 255 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<Cow<'a, str>>,
}

const HELLO: &str = "HELLO";

impl<'a> Hello<'a> {
    /// The answer of a client to `challenge`, if there is one.
    #[must_use]
    pub fn answer(
        identity: Identity<'a>,
        challenge: Option<&Challenge<'_>>,
        password: Option<&Password>,
    ) -> Self {
        let password_hash =
            challenge.zip(password).map(|(challenge, password)| challenge.hash(password, VERSION));
        Self { version: VERSION, password_hash, identity }
    }

    pub(crate) fn parse(args: &'a str) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            v: Option<u32>,
            #[serde(borrow)]
            pwdhash: Option<Text<'a>>,
            #[serde(borrow)]
            hostname: Option<Text<'a>>,
            #[serde(borrow)]
            wid: Option<Text<'a>>,
            pid: Option<u64>,
            #[serde(borrow)]
            labels: Option<&'a RawValue>,
            #[serde(borrow)]
            username: Option<Text<'a>>,
            weight: Option<NonZeroU16>,
        }
        // Encoders of fixed structs send an empty text for what is not there.
        let given = |field, text: Option<Text<'a>>| {
            let text = text.map(|Text(text)| text).filter(|text| !text.is_empty());
            text.map(|text| name(HELLO, field, Some(text))).transpose()
        };
        let wire: Wire<'a> = object(HELLO, args)?;
        let labels = wire.labels.map_or(Ok(Vec::new()), |raw| {
            json::array::<Text<'a>>(raw.get(), limits::LABELS_MAX).map_err(|error| match error {
                ArrayError::TooMany => {
                    let max = limits::LABELS_MAX;
                    RequestError::TooMany { command: HELLO, what: "labels", max }
                }
                ArrayError::Json(source) => RequestError::Json { command: HELLO, source },
            })
        })?;
        let labels = labels.into_iter().map(|Text(label)| label);
        Ok(Self {
            version: wire.v.unwrap_or(0),
            password_hash: wire.pwdhash.map(|Text(hash)| PasswordHash(hash)),
            identity: Identity {
                hostname: given("hostname", wire.hostname)?,
                wid: given("wid", wire.wid)?,
                pid: wire.pid,
                weight: wire.weight,
                labels: labels
                    .map(|label| name(HELLO, "label", Some(label)))
                    .collect::<Result<_, _>>()?,
                username: given("username", wire.username)?,
            },
        })
    }

    /// Appends the answer as a request.
    pub fn write(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Wire<'h> {
            v: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            pwdhash: Option<&'h str>,
            #[serde(flatten)]
            identity: &'h Identity<'h>,
        }
        out.extend_from_slice(b"HELLO ");
        let pwdhash = self.password_hash.as_ref().map(|hash| &*hash.0);
        json::write(out, &Wire { v: self.version, pwdhash, identity: &self.identity });
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_rounds_of_sha_256() {
        // Computed by `sha256sum` of "foobar55104dc76695721d", and of its digest.
        let hash = |rounds, version| {
            Challenge { rounds, salt: "55104dc76695721d".into() }
                .hash(&Password::new("foobar"), version)
                .0
        };
        assert_eq!(hash(1, 2), HASH_OF_ONE_ROUND);
        assert_eq!(hash(2, 2), HASH_OF_TWO_ROUNDS);
        assert_eq!(hash(1545, 1), HASH_OF_ONE_ROUND);
        assert_eq!(hash(1545, 0), HASH_OF_ONE_ROUND);
    }

    const HASH_OF_ONE_ROUND: &str =
        "bda5ef54df4404655456165c27f46764614a296cdafcaffc747b7ab7cc1ea313";
    const HASH_OF_TWO_ROUNDS: &str =
        "09bb96f54eb7ee6280cf9d4be0ed82fc02e6b8da285b6a01d9dd7a976925c6dc";

    #[test]
    fn nothing_secret_is_shown() {
        let challenge = Challenge { rounds: 3, salt: "abc".into() };
        let password = Password::new("hunter2");
        let hello = Hello::answer(Identity::default(), Some(&challenge), Some(&password));
        let shown = format!("{password:?} {hello:?}");
        let hash = hello.password_hash.unwrap().0;
        assert!(!shown.contains("hunter2") && !shown.contains(&*hash), "{shown}");
    }

    #[test]
    fn greetings_come_back() {
        for challenge in [None, Some(Challenge { rounds: 7, salt: "a1".into() })] {
            for is_tickwheel in [false, true] {
                let greeting = Greeting { challenge: challenge.clone(), is_tickwheel };
                let mut out = Vec::new();
                greeting.write(&mut out);
                let text = std::str::from_utf8(&out).unwrap();
                let text =
                    text.strip_prefix('+').and_then(|text| text.strip_suffix("\r\n")).unwrap();
                assert_eq!(text.matches(' ').count(), 1, "clients split at spaces: {text}");
                assert_eq!(Greeting::parse(text).unwrap(), greeting);
            }
        }
        for bad in [
            "",
            "HI",
            "HI {}",
            r#"HI {"v":3}"#,
            r#"HI {"v":2,"i":0,"s":"a"}"#,
            r#"HI {"v":2,"i":2000000,"s":"a"}"#,
        ] {
            assert!(Greeting::parse(bad).is_err(), "{bad}");
        }
    }
}
