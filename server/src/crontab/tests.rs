//! Whole crontabs, in the shapes that packages ship and in those that are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::command::{LogOutput, Program, RunAs};
use crate::plan::{Missed, Timing};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www:/var/www:/usr/sbin/nologin\n\
                      builder:x:1000:1000::/home/builder:/bin/sh\n";

/// A machine on which the server runs as this user.
fn host(server: &str) -> Host {
    let users = Users::parse(PASSWD);
    let server = users.by_name(server).expect("one of the list above").clone();
    Host { users, server, zone: "Europe/Berlin".to_owned() }
}

fn read(text: &str, format: Format, server: &str) -> (Crontabs, Vec<String>) {
    let mut found = reader::Found::default();
    reader::read(Path::new("/x/tab"), text.as_bytes(), format, &host(server), &mut found);
    (found.crontabs, found.problems.iter().map(ToString::to_string).collect())
}

fn good(text: &str, format: Format) -> Crontabs {
    let (crontabs, problems) = read(text, format, "root");
    assert_eq!(problems, Vec::<String>::new());
    crontabs
}

/// Expects one refused line, whose message says all of `parts`.
fn check_refused(text: &str, format: Format, server: &str, parts: &[&str]) {
    let (_, problems) = read(text, format, server);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    for part in parts {
        assert!(problems[0].contains(part), "{part:?} is not in {:?}", problems[0]);
    }
}

fn line_of(entry: &Entry) -> &str {
    match &entry.spec().unwrap().program {
        Program::Shell { line, .. } => line,
        Program::Argv(argv) => panic!("{argv:?}"),
    }
}

#[test]
fn a_system_crontab_of_the_usual_shape() {
    let crontabs = good(
        "# a comment\n\
         SHELL=/bin/sh\n\
         PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin\n\
         \n\
         17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n\
         25 6\t* * 7\troot\ttest -x /usr/sbin/x || { cd / && y; }\n\
         #\n",
        Format::System,
    );
    let [hourly, weekly] = &crontabs.entries[..] else { panic!("{crontabs:?}") };
    let Timing::Cron(cron) = &hourly.timing else { panic!("{:?}", hourly.timing) };
    assert_eq!((cron.source(), cron.zone_name()), ("17 *\t* * *", "Europe/Berlin"));
    assert_eq!(line_of(hourly), "cd / && run-parts --report /etc/cron.hourly");
    assert_eq!(line_of(weekly), "test -x /usr/sbin/x || { cd / && y; }");
    assert_eq!((hourly.origin.line, weekly.origin.line), (5, 6));
    let spec = hourly.spec().unwrap();
    assert!(!spec.inherit_env);
    let env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin";
    assert_eq!(env, ["HOME=/root", "LOGNAME=root", path, "SHELL=/bin/sh", "USER=root"]);
    assert_eq!(spec.dir.as_deref(), Some("/root"));
    assert_eq!((spec.run_as.as_ref(), spec.stdin.as_ref()), (None, None));
    assert_eq!((hourly.missed, hourly.attempts_max), (Missed::Skip, 1));
    assert_eq!(spec.timeout_ms, 24 * 60 * 60 * 1000);
    assert!(crontabs.warnings.is_empty());
}

#[test]
fn shapes_that_packages_ship() {
    let text = "30 7-23 * * *   root\t[ -x /etc/init.d/a ] && if [ ! -d /run/b ]; then /usr/sbin/c a start >/dev/null; fi\n\
                5-55/10 * * * * root command -v d1 > /dev/null && d1 1 1\n\
                09,39 *     * * *     root   [ -x /usr/lib/e ] && /usr/lib/e\n\
                57 0 * * 0 root if [ -x /usr/share/f ] && [ $(date +\\%d) -le 7 ]; then /usr/share/f --cron --all --idle --quiet; fi\n\
                0 */12 * * * root test -x /usr/bin/g -a \\! -d /run/b && perl -e 'sleep int(rand(43200))' && g -q renew\n\
                @reboot www-data /srv/start\n\
                @weekly root H=1 /usr/bin/h\n\
                0 0 1 jan,JUL mon-fri root i\n\
                */5 * * * Sun root j\n";
    let crontabs = good(text, Format::System);
    let lines: Vec<&str> = crontabs.entries.iter().map(line_of).collect();
    assert_eq!(lines.len(), text.lines().count());
    assert_eq!(
        lines[3],
        "if [ -x /usr/share/f ] && [ $(date +%d) -le 7 ]; then /usr/share/f --cron --all --idle --quiet; fi"
    );
    assert!(lines[4].contains("\\! -d"), "other backslashes stay");
    let start = &crontabs.entries[5];
    assert_eq!(start.timing, Timing::Start);
    let run_as = RunAs { name: "www-data".to_owned(), uid: 33, gid: 33 };
    assert_eq!(start.spec().unwrap().run_as, Some(run_as));
    assert_eq!(start.spec().unwrap().env.get("HOME").map(String::as_str), Some("/var/www"));
    assert_eq!(start.spec().unwrap().env.get("LOGNAME").map(String::as_str), Some("www-data"));
    assert_eq!(lines[6], "H=1 /usr/bin/h");
}

#[test]
fn variables_hold_for_the_lines_after_them() {
    let crontabs = good(
        "@daily a\nSHELL=/bin/bash\nHOME=/srv\nCRON_TZ=Asia/Kathmandu\nX = \"1 2\"\n@daily b\nX=\n\
         CRON_TZ=UTC\n@daily c\n",
        Format::User,
    );
    let [a, b, c] = &crontabs.entries[..] else { panic!("{crontabs:?}") };
    let shell = |entry: &Entry| match &entry.spec().unwrap().program {
        Program::Shell { shell, .. } => shell.clone(),
        Program::Argv(argv) => panic!("{argv:?}"),
    };
    let zone = |entry: &Entry| match &entry.timing {
        Timing::Cron(cron) => cron.zone_name().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!([a, b, c].map(shell), ["/bin/sh", "/bin/bash", "/bin/bash"]);
    assert_eq!([a, b, c].map(zone), ["Europe/Berlin", "Asia/Kathmandu", "UTC"]);
    assert_eq!(
        [a, b, c].map(|entry| entry.spec().unwrap().dir.as_deref()),
        [Some("/root"), Some("/srv"), Some("/srv")]
    );
    assert_eq!(
        [a, b, c].map(|entry| entry.spec().unwrap().env.get("X").map(String::as_str)),
        [None, Some("1 2"), Some("")]
    );
    assert_eq!(a.spec().unwrap().env.get("PATH").map(String::as_str), Some("/usr/bin:/bin"));
    assert!(!a.spec().unwrap().env.contains_key("CRON_TZ"));
    assert_eq!([a, b].map(|entry| entry.spec().unwrap().dir_optional), [true, false]);
}

#[test]
fn what_does_less_than_in_cron_is_warned_of() {
    let text = "MAILTO=ops@example.org\n@daily a\nMAILTO=\"\"\n@daily b\nMAILFROM=x\nTZ=UTC\n\
                LOGNAME=y\nPATH=$PATH:/opt\n@daily c\n";
    let crontabs = good(text, Format::User);
    let warnings: Vec<String> = crontabs.warnings.iter().map(ToString::to_string).collect();
    let starts = [
        "/x/tab:1: MAILTO: mail is not sent yet",
        "/x/tab:5: MAILFROM: mail is not sent yet",
        "/x/tab:6: TZ: it is passed to commands",
        "/x/tab:7: LOGNAME: it is left as it is",
        "/x/tab:8: PATH: a $ is not expanded",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:#?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    let log_output: Vec<LogOutput> =
        crontabs.entries.iter().map(|entry| entry.spec().unwrap().log_output).collect();
    assert_eq!(log_output, [LogOutput::Always, LogOutput::OnFailure, LogOutput::OnFailure]);
    let last = &crontabs.entries[2].spec().unwrap().env;
    assert_eq!(last.get("TZ").map(String::as_str), Some("UTC"));
    assert_eq!(last.get("LOGNAME").map(String::as_str), Some("root"));
    assert_eq!(last.get("PATH").map(String::as_str), Some("$PATH:/opt"));
}

#[test]
fn refused_lines_are_named() {
    let user = |text, parts| check_refused(text, Format::User, "builder", parts);
    let system = |text, parts| check_refused(text, Format::System, "root", parts);
    user("\n61 * * * * a\n", &["/x/tab:2: \"61 * * * * a\": ", "61"]);
    user("@every 5m\n", &["/x/tab:1", "@every"]);
    user("@fortnightly a\n", &["@fortnightly"]);
    user("* * * *\n", &["4 words where five time fields and a command"]);
    user("RANDOM_DELAY=45\n@daily a\n", &["RANDOM_DELAY", "not supported", "sleep"]);
    user("-*/15 * * * * a\n", &["SUSE"]);
    user("* * * * * -n a\n", &["option -n"]);
    user("CRON_TZ=Mars/Olympus\n", &["time zone `Mars/Olympus`"]);
    user("SHELL=bash\n", &["\"bash\" is not a whole path"]);
    user("0 1 * * * a\r\n", &["carriage return"]);
    system("0 1 * * * mallory a\n", &["user \"mallory\" is not in /etc/passwd"]);
    system("0 1 * * * root\n", &["the user"]);
    system("@daily www-data:www a\n", &["user \"www-data:www\""]);
    let other = ["runs as user www-data", "this server runs as builder", "only root"];
    check_refused("@daily www-data a\n", Format::System, "builder", &other);
}

#[test]
fn one_refused_line_does_not_hide_the_next() {
    let (crontabs, problems) = read("x\n@daily a\ny\n", Format::User, "builder");
    assert_eq!((crontabs.entries.len(), problems.len()), (1, 2));
}

#[test]
fn a_server_without_root_runs_its_own_lines_of_a_system_crontab() {
    let (crontabs, problems) = read("@daily builder a\n", Format::System, "builder");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(crontabs.entries[0].spec().unwrap().run_as, None);
}

#[test]
fn editing_one_line_keeps_the_names_of_the_others() {
    let names = |text| -> Vec<String> {
        good(text, Format::User).entries.into_iter().map(|entry| entry.name).collect()
    };
    let before = names("@daily a\n0  1 * * * b\n@daily a\n");
    let after = names("# new\nX=1\n@daily a\n5 5 * * * c\n0 1 *\t* * b\n@daily a\n");
    assert_eq!([&before[0], &before[1], &before[2]], [&after[0], &after[2], &after[3]]);
    assert!(before[0].starts_with("crontab:tab:") && before[0].ends_with("-1"), "{before:?}");
    assert_eq!(before[2], before[0].replace("-1", "-2"));
    assert_ne!(names("@daily a\n"), names("@weekly a\n"));
}

#[test]
fn percent_gives_the_command_its_input() {
    let crontabs = good("@daily mail -s x y%Hello,%%bye \\% z\n", Format::User);
    assert_eq!(line_of(&crontabs.entries[0]), "mail -s x y");
    assert_eq!(crontabs.entries[0].spec().unwrap().stdin.as_deref(), Some("Hello,\n\nbye % z\n"));
}

#[test]
fn the_last_line_needs_no_line_feed_and_bytes_need_not_be_text_in_comments() {
    let mut found = reader::Found::default();
    let bytes = b"# caf\xe9\n@daily caf\xe9\n@daily a";
    reader::read(Path::new("t"), bytes, Format::User, &host("root"), &mut found);
    assert_eq!(found.crontabs.entries.len(), 1);
    assert!(found.problems[0].to_string().starts_with("t:2: "), "{:?}", found.problems);
}

#[test]
fn folders_hold_the_files_that_cron_would_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    for name in ["b-1", "A_2", "c.dpkg-dist", ".placeholder", "d~"] {
        write(name, "@daily builder a\n");
    }
    fs::create_dir(folder.path().join("sub")).unwrap();
    let paths = [folder.path().to_path_buf()];
    let found = load(&paths, Format::System, &host("builder")).unwrap();
    let names: Vec<&std::ffi::OsStr> =
        found.entries.iter().filter_map(|entry| entry.origin.file.file_name()).collect();
    assert_eq!(names, ["A_2", "b-1"]);

    let error = load(&paths, Format::User, &host("builder")).unwrap_err();
    assert!(error.to_string().contains("add --system"), "{error}");
    let error = load(&[PathBuf::from("/no/such")], Format::User, &host("builder")).unwrap_err();
    assert!(error.to_string().starts_with("/no/such: cannot be read: "), "{error}");
}

#[test]
fn a_link_to_nothing_does_not_keep_the_other_files_from_running() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tab");
    fs::write(&file, "@daily builder a\n").unwrap();
    std::os::unix::fs::symlink("/no/such", folder.path().join("gone")).unwrap();
    let paths = [folder.path().to_path_buf()];
    let found = load(&paths, Format::System, &host("builder")).unwrap();
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.warnings.len(), 1);
    let warning = found.warnings[0].to_string();
    assert!(warning.contains("/gone: it is a link to a file that does not exist"), "{warning}");
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tab");
    fs::write(&file, "@daily builder a\n").unwrap();
    let link = folder.path().join("tab.link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let paths = [folder.path().to_path_buf(), file.clone(), link];
    let found = load(&paths, Format::System, &host("builder")).unwrap();
    assert_eq!(found.entries.len(), 1);
    let warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|text| text.contains("it was already read, as ")), "{warnings:?}");
}

#[test]
fn root_trusts_no_file_that_others_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tab");
    fs::write(&file, "@daily root a\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let error = load(std::slice::from_ref(&file), Format::System, &host("root")).unwrap_err();
    // Where the tests do not run as root the file's owner is the first objection.
    let expected = ["others than root may write", "does not belong to root"];
    assert!(expected.iter().any(|text| error.to_string().contains(text)), "{error}");
}

#[test]
fn no_line_makes_the_reader_panic() {
    let text = "A = \"é\"\n17 *\té * *\troot\tcd / && x%y\\%\n@reboot 'é\n-\n\"\n=\n\\\n";
    for start in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
        for end in (start..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            read(&text[start..end], Format::System, "root");
            read(&text[start..end], Format::User, "builder");
        }
    }
}
