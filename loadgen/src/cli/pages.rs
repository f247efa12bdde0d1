//! The verbs that read and measure nothing: `report` and `plan`.

use std::path::PathBuf;

use clap::Args;

use super::output::{Exit, JsonOut, print};
use crate::{plan, report as page, result, workload::DurationText};

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Folders that were given to --out
    #[arg(value_name = "DIR", required_unless_present = "compare")]
    dirs: Vec<PathBuf>,
    /// Put two folders side by side
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "dirs")]
    compare: Vec<PathBuf>,
    /// Where the page goes
    #[arg(short = 'o', long = "output", value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel-loadgen plan --crontab /etc/crontab --system
      the peaks of the month ahead, and jitter that flattens them
  tickwheel-loadgen plan --config tickwheel.toml --measured out -o plan.html
  tickwheel-loadgen plan --jobs-per-day 50000000 --peak-factor 8 --measured out --cost-per-hour 0.20
      whether that fits one machine, how many it needs, and what a million triggers cost")]
pub(super) struct PlanArgs {
    /// Crontabs
    #[arg(long, value_name = "FILE")]
    crontab: Vec<PathBuf>,
    /// The crontabs have a column for the user
    #[arg(long, requires = "crontab")]
    system: bool,
    /// Configurations of `tickwheel serve`
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Instead of or beside schedules: so many jobs a day
    #[arg(long, value_name = "N")]
    jobs_per_day: Option<f64>,
    /// The peak second has so many times the mean rate of --jobs-per-day
    #[arg(long, value_name = "P", default_value_t = 3.0)]
    peak_factor: f64,
    /// Days to look ahead: 1 to 366
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// When to begin, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    from: Option<i64>,
    /// Zone of schedules that name none
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// The longest jitter that may be proposed
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    jitter_max: DurationText,
    /// Results to predict from
    #[arg(long, value_name = "DIR")]
    measured: Vec<PathBuf>,
    /// What a machine costs per hour, in any currency
    #[arg(long, value_name = "X")]
    cost_per_hour: Option<f64>,
    /// Write a page with charts too
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write it as JSON (schema tickwheel.plan/v1) to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn report(args: &ReportArgs) -> Result<(), Exit> {
    let read = |dirs: &[PathBuf]| -> Result<Vec<result::Report>, Exit> {
        let mut all = Vec::new();
        for dir in dirs {
            all.extend(result::read_dir(dir)?.into_iter().map(|(_, report)| report));
        }
        Ok(all)
    };
    let html = if let [one, other] = args.compare.as_slice() {
        let names = [one, other].map(|dir| dir.display().to_string());
        let [one, other] = [one, other].map(|dir| read(std::slice::from_ref(dir)));
        page::compare([&names[0], &names[1]], [&one?, &other?])
    } else {
        page::page(&read(&args.dirs)?)
    };
    std::fs::write(&args.output, html).map_err(|error| {
        let path = args.output.display();
        Exit::failed(format!("cannot write {path}: {error}; name another file with -o"))
    })?;
    print(format!("{}\n", args.output.display()).as_bytes())
}

pub(super) fn plan(args: &PlanArgs) -> Result<(), Exit> {
    let json = args.json.as_deref().map(JsonOut::open).transpose()?;
    let mut measured = Vec::new();
    for dir in &args.measured {
        measured.extend(result::read_dir(dir)?.into_iter().map(|(_, report)| report));
    }
    let ask = plan::Ask {
        crontabs: args.crontab.clone(),
        has_users: args.system,
        configs: args.config.clone(),
        jobs_per_day: args.jobs_per_day,
        peak_factor: args.peak_factor,
        days: args.days,
        from_unix_s: args.from,
        zone: args.zone.clone(),
        jitter_max: args.jitter_max.0,
        cost_per_hour: args.cost_per_hour,
    };
    let found = plan::plan(&ask, &measured).map_err(Exit::usage)?;
    if !matches!(json, Some(JsonOut::Stdout)) {
        print(found.to_string().as_bytes())?;
    }
    if let Some(output) = &args.output {
        std::fs::write(output, page::plan_page(&found)).map_err(|error| {
            let path = output.display();
            Exit::failed(format!("cannot write {path}: {error}; name another file with -o"))
        })?;
    }
    json.map_or(Ok(()), |json| json.write(&found))
}
