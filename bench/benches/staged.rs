//! A staging log beside a mapped one, in turns, with what each costs.
//!
//! `cargo bench -p tickwheel-bench --bench staged` runs all of it; a word behind `--` picks the
//! tables whose names hold it. A line has the smallest, the median and the largest of its turns, and
//! behind them those of its ratio to the mapped log in the same turn.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tickwheel_bench::{
    BenchError,
    wal::{
        BareSyncs, Copies, Paced, Plan, ROUND, killed,
        staged::{self, Cost, Place, Way},
    },
};
use tickwheel_wal::Durability;

/// On the disk that the workspace is built on: the directory for temporary files may be memory.
const PARENT: &str = env!("CARGO_TARGET_TMPDIR");
const SEGMENT_BYTES: u64 = 64 << 20;
const TURNS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(50);
/// They fit the segments that are ready at first.
const APPEND_ROUNDS: u32 = 900;
const COMMITS: u32 = 2000;
const GROUPS: u32 = 1000;
/// Nine segments and a bit.
const SUSTAINED_GROUPS: u32 = 3000;
const PLAN: Plan = Plan { per_second: 1_000_000, records: 4_000_000 };

/// Asks this program to be the process that is killed.
const VICTIM: &str = "--victim";
const KILLS: u64 = 10;

type Measure = fn(Place<'_>) -> Result<Table, BenchError>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, way, mode, dir] = &args[..]
        && first == VICTIM
    {
        return be_killed(way, mode, dir).unwrap_or_else(|error| panic!("{error}"));
    }
    // Cargo runs benchmarks as tests without this; `tests/tiny.rs` does that.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let wanted = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
    let place = Place { parent: Path::new(PARENT), segment_bytes: SEGMENT_BYTES };
    let all: [(&str, Measure); 6] = [
        ("append", append),
        ("commit", commit),
        ("group", group),
        ("sustained", sustained),
        ("paced", paced),
        ("kill", kill),
    ];
    for (name, table) in all.iter().filter(|(name, _)| name.contains(wanted)) {
        let began = Instant::now();
        match table(place) {
            Ok(table) => {
                println!("\n{name} ({:.0} s)", began.elapsed().as_secs_f64());
                table.print();
            }
            Err(error) => panic!("the measurement failed: {error}"),
        }
    }
}

fn append(place: Place<'_>) -> Result<Table, BenchError> {
    let records = u64::from(APPEND_ROUNDS) * u64::from(ROUND);
    let mut table = Table::default();
    let mut copies = Copies::new(SEGMENT_BYTES as usize);
    for _ in 0..TURNS {
        for way in Way::ALL {
            let cost = staged::appends(way, place, APPEND_ROUNDS)?;
            assert_eq!(cost.waits, 0, "the segments that were ready did not suffice");
            table.put(way.name(), "ns/record", per(cost.elapsed, records));
        }
        table.put("memcpy+crc32c", "ns/record", per(copies.copy(APPEND_ROUNDS.into()), records));
    }
    Ok(table)
}

fn commit(place: Place<'_>) -> Result<Table, BenchError> {
    let mut table = Table::default();
    let mut bare = BareSyncs::new(place.parent)?;
    for _ in 0..TURNS {
        for way in Way::ALL {
            let (cost, times) = staged::commits(way, place, COMMITS)?;
            let name = way.name();
            table.put(name, "commits/s", f64::from(COMMITS) / cost.elapsed.as_secs_f64());
            table.put_times(name, "commit", &times, &[0.5, 0.99]);
            table.put_cost(name, cost, COMMITS.into());
        }
        let mut times = Histogram::<u64>::new(3)?;
        let began = Instant::now();
        for _ in 0..COMMITS {
            times.record(bare.sync(1)?.as_nanos() as u64)?;
        }
        let per_second = f64::from(COMMITS) / began.elapsed().as_secs_f64();
        table.put("write+fdatasync", "commits/s", per_second);
        table.put_times("write+fdatasync", "commit", &times, &[0.5, 0.99]);
    }
    Ok(table)
}

fn group(place: Place<'_>) -> Result<Table, BenchError> {
    stream(GROUPS, |way| staged::groups(way, place, GROUPS))
}

fn sustained(place: Place<'_>) -> Result<Table, BenchError> {
    stream(SUSTAINED_GROUPS, |way| staged::sustained(way, place, INTERVAL, SUSTAINED_GROUPS))
}

fn stream(groups: u32, run: impl Fn(Way) -> Result<Cost, BenchError>) -> Result<Table, BenchError> {
    let records = u64::from(groups) * u64::from(ROUND);
    let mut table = Table::default();
    for _ in 0..TURNS {
        for way in Way::ALL {
            let cost = run(way)?;
            let per_second = records as f64 / cost.elapsed.as_secs_f64();
            table.put(way.name(), "durable records/s", per_second);
            table.put_cost(way.name(), cost, records);
        }
    }
    Ok(table)
}

fn paced(place: Place<'_>) -> Result<Table, BenchError> {
    const QUANTILES: [f64; 5] = [0.5, 0.99, 0.999, 0.9999, 1.0];
    let mut table = Table::default();
    for _ in 0..TURNS {
        for way in Way::ALL {
            let (cost, paced) = staged::paced(way, place, INTERVAL, PLAN)?;
            table.put_times(way.name(), "call", &paced.call_ns, &QUANTILES);
            table.put_cost(way.name(), cost, PLAN.records);
        }
        let paced = Paced::copies(SEGMENT_BYTES as usize, PLAN)?;
        table.put_times("memcpy+crc32c", "call", &paced.call_ns, &QUANTILES);
    }
    Ok(table)
}

/// Published records that are gone when the process is killed.
fn kill(place: Place<'_>) -> Result<Table, BenchError> {
    let mut table = Table::default();
    for turn in 0..KILLS {
        for mode in ["sync", "interval", "os"] {
            for way in Way::ALL {
                let dir = tempfile::tempdir_in(place.parent)?;
                let mut victim = Command::new(std::env::current_exe()?)
                    .args([VICTIM, way.name(), mode])
                    .arg(dir.path())
                    .stdout(Stdio::piped())
                    .spawn()?;
                let mut told = victim.stdout.take().ok_or("the victim has no output")?;
                // At another moment of the interval each time.
                let heard = killed::listen(&mut told, 1000 + turn * 37)?;
                victim.kill()?;
                victim.wait()?;
                let published = killed::listen(&mut told, u64::MAX)?.max(heard) * killed::GROUP;
                let left = killed::survivors(dir.path())?;
                let lost = published.saturating_sub(left);
                table.put(way.name(), &format!("{mode}: lost records"), lost as f64);
            }
        }
    }
    Ok(table)
}

fn be_killed(way: &str, mode: &str, dir: &str) -> Result<(), BenchError> {
    let way = Way::ALL.into_iter().find(|it| it.name() == way).ok_or("no such way")?;
    let durability: Durability = mode.parse()?;
    killed::publish(way, Path::new(dir), durability, u64::MAX, &mut std::io::stdout().lock())
}

/// Figures of all turns, by name.
#[derive(Default)]
struct Table(Vec<Line>);

struct Line {
    who: &'static str,
    what: String,
    figures: Vec<f64>,
}

impl Table {
    fn put(&mut self, who: &'static str, what: &str, figure: f64) {
        match self.0.iter_mut().find(|line| line.who == who && line.what == what) {
            Some(line) => line.figures.push(figure),
            None => self.0.push(Line { who, what: what.to_owned(), figures: vec![figure] }),
        }
    }

    fn put_times(
        &mut self,
        who: &'static str,
        what: &str,
        times: &Histogram<u64>,
        quantiles: &[f64],
    ) {
        for &quantile in quantiles {
            let micros = times.value_at_quantile(quantile) as f64 / 1e3;
            self.put(who, &format!("{what} p{}, µs", quantile * 100.0), micros);
        }
    }

    fn put_cost(&mut self, who: &'static str, cost: Cost, records: u64) {
        self.put(who, "processor ns/record", per(cost.cpu, records));
        self.put(who, "bytes to disk/record", cost.disk_bytes as f64 / records as f64);
        self.put(who, "syncs", cost.syncs as f64);
        self.put(who, "waits for segments", cost.waits as f64);
    }

    fn print(&self) {
        let mut lines: Vec<&Line> = self.0.iter().collect();
        // By figure, and within it in the order of the turns.
        let first = |line: &Line| self.0.iter().position(|other| other.what == line.what);
        lines.sort_by_key(|line| first(line));
        for line in lines {
            let mapped = |other: &&Line| other.who == Way::Mapped.name() && other.what == line.what;
            print!("  {:24} {:16} {}", line.what, line.who, spread(&line.figures));
            if let Some(mapped) = self.0.iter().find(mapped)
                && line.who != mapped.who
            {
                let pairs = line.figures.iter().zip(&mapped.figures);
                let ratios: Vec<f64> = pairs.map(|(figure, mapped)| figure / mapped).collect();
                print!("   × {}", spread(&ratios));
            }
            println!();
        }
    }
}

/// The smallest, the median and the largest.
fn spread(figures: &[f64]) -> String {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let digits = if figures.last().is_some_and(|largest| *largest >= 10_000.0) { 0 } else { 2 };
    let [min, median, max] = [0, figures.len() / 2, figures.len() - 1].map(|at| figures[at]);
    format!("{min:>10.digits$} {median:>10.digits$} {max:>10.digits$}")
}

fn per(time: Duration, records: u64) -> f64 {
    time.as_nanos() as f64 / records as f64
}
