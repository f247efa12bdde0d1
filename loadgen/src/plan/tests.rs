//! Whole plans from small files.

use std::fs;

use super::*;

/// Monday, 5 January 2026, 00:00 UTC.
const MONDAY: i64 = 1_767_571_200;

fn ask() -> Ask {
    Ask {
        crontabs: Vec::new(),
        has_users: false,
        configs: Vec::new(),
        jobs_per_day: None,
        peak_factor: 3.0,
        days: 7,
        from_unix_s: Some(MONDAY),
        zone: "UTC".to_owned(),
        jitter_max: Duration::from_secs(600),
        cost_per_hour: None,
    }
}

fn of_crontab(content: &str, change: impl FnOnce(&mut Ask)) -> Result<Plan, PlanError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tab");
    fs::write(&path, content).unwrap();
    let mut ask = ask();
    ask.crontabs.push(path);
    change(&mut ask);
    plan(&ask, &[])
}

#[test]
fn a_crontab_is_walked_with_its_variables_and_zones() {
    let tab = "SHELL=/bin/sh\n# note\n0 0 * * * a\n30 12 * * mon b = c\n@hourly d\n@reboot e\n\
               CRON_TZ=Asia/Tokyo\n0 9 * * * f\n";
    let plan = of_crontab(tab, |_| ()).unwrap();
    let forecast = plan.forecast.as_ref().unwrap();
    assert_eq!((forecast.schedules, forecast.triggers), (4, 7 + 1 + 7 * 24 + 7));
    // 09:00 in Tokyo is midnight UTC.
    assert_eq!(forecast.now.peaks[0], Peak { unix_s: MONDAY, triggers: 3 });
    assert!(forecast.warnings[0].contains("@reboot"));
    assert!(plan.to_string().contains("2026-01-05T00:00:00"), "{plan}");
    assert!(plan.fit.sentence.contains("nothing was measured"));
}

#[test]
fn jitter_flattens_midnight_and_loses_nothing() {
    let tab: String = (0..5000).map(|n| format!("0 0 * * * job {n}\n")).collect();
    let plan = of_crontab(&tab, |_| ()).unwrap();
    let forecast = plan.forecast.unwrap();
    assert_eq!(forecast.now.peaks[0].triggers, 5000);
    assert!(forecast.jittered.peaks[0].triggers < 30, "{:?}", forecast.jittered.peaks[0]);
    assert!((forecast.now.lateness.max_s - 4.999).abs() < 1e-9);
    assert!(forecast.jittered.lateness.max_s < 0.05);
    let shares: f64 = forecast.jittered.by_minute.iter().sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

#[test]
fn ten_thousand_schedules_over_a_month_are_counted_exactly() {
    let tab: String = (0..10_000)
        .map(|n| match n % 5 {
            0 => format!("{} {} * * * x\n", n % 60, n % 24),
            1 => format!("{} * * * * x\n", n % 60),
            2 => "*/5 * * * * x\n".to_owned(),
            3 => "0 0 * * * x\n".to_owned(),
            _ => "* * * * * x\n".to_owned(),
        })
        .collect();
    let plan = of_crontab(&tab, |ask| ask.days = 30).unwrap();
    let forecast = plan.forecast.unwrap();
    let per_day = 2000 * (1 + 24 + 288 + 1 + 1440);
    assert_eq!(forecast.triggers, 30 * per_day);
}

#[test]
fn a_configuration_is_walked_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    let content = "[defaults]\nzone = \"Asia/Tokyo\"\n[[schedule]]\nname = \"a\"\ncron = \"0 0 9 * * *\"\n\
                   [[schedule]]\nname = \"b\"\nevery = \"6h\"\n[[job]]\nname = \"c\"\n";
    fs::write(&path, content).unwrap();
    let found = plan(&Ask { configs: vec![path.clone()], ..ask() }, &[]).unwrap();
    let forecast = found.forecast.unwrap();
    assert_eq!((forecast.schedules, forecast.triggers), (2, 7 + 27));
    assert_eq!(forecast.warnings.len(), 1);
    let trace = replay(&path, 86_400.0).unwrap();
    assert_eq!(trace.jobs(), 4);
    fs::write(&path, "[[schedule]]\nname = \"a\"\nevery = \"soon\"\n").unwrap();
    let error = plan(&Ask { configs: vec![path], ..ask() }, &[]).unwrap_err().to_string();
    assert!(error.contains("schedule \"a\"") && error.contains("15m"), "{error}");
}

#[test]
fn bad_input_is_named() {
    let error = of_crontab("0 0 * * * a\n61 * * * * b\n", |_| ()).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("minute"), "{error}");
    let error = of_crontab("0 0 * * * a\n", |ask| ask.has_users = true).unwrap_err().to_string();
    assert!(error.contains("a user and a command"), "{error}");
    assert!(matches!(plan(&ask(), &[]), Err(PlanError::Nothing)));
    let error = plan(&Ask { jobs_per_day: Some(-1.0), ..ask() }, &[]).unwrap_err().to_string();
    assert!(error.contains("--jobs-per-day is -1"), "{error}");
}

#[test]
fn a_prediction_stands_beside_what_was_measured_and_marks_what_is_beyond() {
    let machine = crate::Machine::describe(
        std::path::Path::new("."),
        crate::Limits::measure(std::path::Path::new(".")).unwrap(),
    );
    let mut run = Report::bare("saturate", machine);
    run.achieved.completed_per_s = 1000.0;
    run.extra.insert("saturation_per_s".to_owned(), 1000.0);
    run.ledger.completed = 10;
    run.resources.wal_bytes_per_job = 300.0;
    let small = Ask { jobs_per_day: Some(8_640_000.0), ..ask() };
    let fits = plan(&small, std::slice::from_ref(&run)).unwrap().fit;
    assert_eq!((fits.fits, fits.machines), (Some(true), Some(1)), "{fits:?}");
    assert!(fits.predictions.iter().all(|one| !one.is_extrapolated));
    let large = Ask { jobs_per_day: Some(86_400_000.0), cost_per_hour: Some(1.0), ..ask() };
    let beyond = plan(&large, &[run]).unwrap().fit;
    assert_eq!((beyond.fits, beyond.machines), (Some(false), Some(5)), "{beyond:?}");
    assert!(beyond.predictions[0].is_extrapolated);
    assert!(beyond.predictions.iter().any(|one| one.name.contains("cost")));
}

#[test]
fn what_was_measured_over_tcp_predicts_what_a_server_needs_and_no_more() {
    let limits = crate::Limits::measure(std::path::Path::new(".")).unwrap();
    let machine = crate::Machine::describe(std::path::Path::new("."), limits);
    let mut run = Report::bare("run", machine);
    run.target = "serve".to_owned();
    run.achieved.completed_per_s = 1000.0;
    run.ledger.completed = 10;
    run.resources.cpu_ns_per_job = 77_000.0;
    run.extra.insert("server_cpu_ns_per_job".to_owned(), 2500.0);
    let names = |run: &Report| {
        let ask = Ask { jobs_per_day: Some(8_640_000.0), ..ask() };
        let fit = plan(&ask, std::slice::from_ref(run)).unwrap().fit;
        fit.predictions.into_iter().map(|one| format!("{}: {}", one.name, one.measured))
    };
    let texts: Vec<String> = names(&run).collect();
    assert_eq!(texts[1], "processors at the peak: 2.50 µs a job");
    assert_eq!(texts.len(), 2, "it told nothing of its log: {texts:?}");
    // Of a server that somebody else started nothing is known.
    run.extra.clear();
    run.target = "tcp://127.0.0.1:7419".to_owned();
    assert_eq!(names(&run).count(), 1);
}
