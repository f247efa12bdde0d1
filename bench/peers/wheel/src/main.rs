//! Inserts, cancels and expires timers, of Tickwheel's wheel and of others, in one process, in turn.
//!
//! It knows the order of what is done and how it is timed, never a timer's own interface.

mod contender;
mod turn;

use std::process::ExitCode;

use contender::{Capacity8k, Capacity128k, Delays, HashWheel, Heap, Linked, Map, Ours, Timers};
use turn::{Case, Cost};

const HELP: &str = "\
usage: wheel [--pending N] [--span-s S] [--turns T] [--own] [--memory ours|linked]

  --pending N   timers pending; without it 10⁴, 10⁶ and 10⁷ in turn
  --span-s S    due times are spread over the next S seconds; without it an hour
  --turns T     turns of each (5)
  --own         only the two layouts of our own
  --memory WHO  no times: the growth of resident memory per pending timer, of one of our layouts";

/// What was asked for.
struct Options {
    pending: Vec<u32>,
    span_s: u64,
    turns: u32,
    is_own: bool,
    memory: Option<String>,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    // One of the peers builds its slots on the stack.
    let worker = std::thread::Builder::new().stack_size(256 << 20).spawn(move || run(&options));
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        pending: vec![10_000, 1_000_000, 10_000_000],
        span_s: 3600,
        turns: 5,
        is_own: false,
        memory: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
        match arg.as_str() {
            "--pending" => options.pending = vec![number(value()?)?],
            "--span-s" => options.span_s = u64::from(number(value()?)?).max(1),
            "--turns" => options.turns = number(value()?)?.max(1),
            "--own" => options.is_own = true,
            "--memory" => options.memory = Some(value()?),
            _ => return Err(format!("{arg} is not known")),
        }
    }
    Ok(options)
}

fn run(options: &Options) {
    for pending in &options.pending {
        let case = Case { pending: (*pending).max(16), span_ns: options.span_s * 1_000_000_000 };
        match options.memory.as_deref() {
            Some("linked") => memory::<Linked>(case),
            Some(_) => memory::<Ours>(case),
            None => times(options, case),
        }
    }
}

fn memory<T: Timers>(case: Case) {
    let bytes = turn::memory::<T>(case) as f64 / f64::from(case.pending);
    println!("{} · {} pending: {bytes:.1} bytes per timer", T::NAME, case.pending);
}

fn times(options: &Options, case: Case) {
    // A turn of few timers is short: more of them give the same time under measurement.
    let repeats = (1_000_000 / case.pending).clamp(1, 50);
    let mut rows: Vec<(&str, Vec<Cost>)> = Vec::new();
    for turn in 0..options.turns {
        // The first of them finds the caches cold: each is the first in one turn of many.
        let mut measures: Vec<Measure> = vec![measure::<Ours>, measure::<Linked>];
        if !options.is_own {
            let bitwheel = if case.pending > 100_000 {
                measure::<Capacity128k>
            } else {
                measure::<Capacity8k>
            };
            measures.extend([measure::<HashWheel> as Measure, measure::<Delays>]);
            measures.extend([measure::<Heap> as Measure, measure::<Map>]);
            // Beyond that, its places would take more memory than there is.
            measures.extend((case.pending <= 1_000_000).then_some(bitwheel as Measure));
        }
        let first = turn as usize % measures.len();
        measures.rotate_left(first);
        for measure in measures {
            let (name, cost) = measure(case, repeats);
            match rows.iter_mut().find(|(other, _)| *other == name) {
                Some((_, costs)) => costs.push(cost),
                None => rows.push((name, vec![cost])),
            }
        }
    }
    print(case, &rows);
}

type Measure = fn(Case, u32) -> (&'static str, Cost);

fn measure<T: Timers>(case: Case, repeats: u32) -> (&'static str, Cost) {
    let sum = (0..repeats).map(|_| turn::turn::<T>(case)).fold(Cost::default(), Cost::plus);
    (T::NAME, sum.divided_by(f64::from(repeats)))
}

fn print(case: Case, rows: &[(&str, Vec<Cost>)]) {
    println!(
        "\n{} pending, due within {} s; ns of the thread's processor time for one operation: least, **median**, most\n",
        case.pending,
        case.span_ns / 1_000_000_000,
    );
    println!("| timers | insert | cancel | expire |\n|---|---:|---:|---:|");
    for (name, costs) in rows {
        let [insert, cancel, expire] = [
            spread(costs.iter().map(|cost| cost.insert)),
            spread(costs.iter().map(|cost| cost.cancel)),
            spread(costs.iter().map(|cost| cost.expire)),
        ];
        println!("| {name} | {insert} | {cancel} | {expire} |");
    }
}

fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) if *most > 0.0 => {
            format!("{least:.1} **{median:.1}** {most:.1}")
        }
        _ => String::new(),
    }
}
