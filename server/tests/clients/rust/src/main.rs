//! A worker and a producer on the crate `faktory`, as `clients.rs` drives them.
//!
//! ```text
//! worker URL LEDGER           appends the number of each job to the ledger, until it is told to end
//! push URL LEDGER FIRST COUNT DELAY_MS FAIL
//!                             pushes jobs, each until it is taken, and notes their numbers
//! progress URL LEDGER         pushes a tracked job and follows it to its end
//! batch URL LEDGER            pushes a batch of two with a callback, works it off, and looks at it meanwhile
//! ```
//!
//! With `tcp+tls` in the URL it speaks TLS and trusts what `SSL_CERT_FILE` names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use faktory::{
    Client, Error, Job, Worker,
    ent::{Batch, JobState, ProgressUpdate},
    rustls::TlsStream,
};
use serde_json::Value;
use tokio::io::BufStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, url, ledger, rest @ ..] = &args[..] else { return Err("ROLE URL LEDGER".into()) };
    match (&**role, rest) {
        ("worker", []) => work(url, ledger).await?,
        ("push", [first, count, delay_ms, fail]) => {
            let (first, count): (u64, u64) = (first.parse()?, count.parse()?);
            push(url, ledger, first..first + count, delay_ms.parse()?, fail == "fail").await?;
        }
        ("progress", []) => progress(url, ledger).await?,
        ("batch", []) => batch(url, ledger).await?,
        _ => return Err("ROLE URL LEDGER …".into()),
    }
    Ok(())
}

fn append(ledger: &str, number: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(ledger)?;
    file.write_all(format!("{number}\n").as_bytes())
}

/// What is done for a job; it may fail the first time.
fn note(ledger: &str, job: &Job) -> io::Result<()> {
    let [number, fails] = job.args() else { return Err(io::Error::other("two arguments")) };
    let (number, fails) = (number.as_u64().unwrap_or(0), fails == &Value::Bool(true));
    let marker = format!("{ledger}.failed-{number}");
    if fails && !Path::new(&marker).exists() {
        File::create(marker)?;
        return Err(io::Error::other("once"));
    }
    append(ledger, number)
}

fn password(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://:")?;
    rest.split_once('@').map(|(password, _)| password.to_owned())
}

fn is_tls(url: &str) -> bool {
    url.starts_with("tcp+tls")
}

/// The crate takes the scheme from the type of the stream, and knows one only.
fn as_tcp(url: &str) -> String {
    url.replacen("tcp+tls", "tcp", 1)
}

async fn connect(url: &str) -> Result<Client, Error> {
    if is_tls(url) {
        let stream = TlsStream::connect_with_native_certs_to(&as_tcp(url)).await?;
        return Client::connect_with(BufStream::new(stream), password(url)).await;
    }
    Client::connect_to(url).await
}

async fn work(url: &str, ledger: &str) -> Result<(), Box<dyn std::error::Error>> {
    let ledger = ledger.to_owned();
    let builder = Worker::builder::<io::Error>()
        .workers(2)
        .labels(["rust".to_owned()])
        .register_blocking_fn("note", move |job| note(&ledger, &job));
    let mut worker = if is_tls(url) {
        let stream = TlsStream::connect_with_native_certs_to(&as_tcp(url)).await?;
        builder.connect_with(BufStream::new(stream), password(url)).await?
    } else {
        builder.connect_to(url).await?
    };
    worker.run(&["default"]).await?;
    Ok(())
}

async fn push(
    url: &str,
    ledger: &str,
    numbers: std::ops::Range<u64>,
    delay_ms: i64,
    fails: bool,
) -> io::Result<()> {
    let mut client = None;
    for number in numbers {
        loop {
            let mut builder = Job::builder("note");
            builder.jid(faktory::JobId::new(format!("job-{number:08}")));
            builder.args(vec![Value::from(number), Value::from(fails)]);
            if delay_ms > 0 {
                builder.at(chrono::Utc::now() + chrono::Duration::milliseconds(delay_ms));
            }
            match enqueue(url, &mut client, builder.build()).await {
                Ok(()) => break,
                Err(error) => {
                    println!("again: {error:?}");
                    // The crate says END when a client is dropped, and panics where that cannot be sent.
                    std::mem::forget(client.take());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        append(ledger, number)?;
    }
    Ok(())
}

async fn enqueue(url: &str, client: &mut Option<Client>, job: Job) -> Result<(), Error> {
    if client.is_none() {
        *client = Some(connect(url).await?);
    }
    match client {
        Some(client) => client.enqueue(job).await,
        None => Ok(()),
    }
}

async fn progress(url: &str, ledger: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = connect(url).await?;
    let mut builder = Job::builder("note");
    builder.args(vec![Value::from(7), Value::Bool(false)]);
    builder.add_to_custom_data("track", 1);
    let job = builder.build();
    let jid = job.id().clone();
    client.enqueue(job).await?;
    let before = client.get_progress(jid.clone()).await?.ok_or("no progress")?;
    let ledger = ledger.to_owned();
    let (seen, url_inside, jid_inside) = (format!("{ledger}.seen"), url.to_owned(), jid.clone());
    let mut worker = Worker::builder::<io::Error>()
        .register_fn("note", move |job| {
            let (ledger, seen) = (ledger.clone(), seen.clone());
            let (url, jid) = (url_inside.clone(), jid_inside.clone());
            async move {
                let other = |error: Error| io::Error::other(error.to_string());
                let mut client = connect(&url).await.map_err(other)?;
                let update = ProgressUpdate::builder(jid.clone())
                    .percent(40)
                    .desc("half".to_owned())
                    .build();
                client.set_progress(update).await.map_err(other)?;
                let progress = client.get_progress(jid).await.map_err(other)?;
                let progress = progress.ok_or(io::Error::other("no progress"))?;
                if progress.state != JobState::Working {
                    return Err(io::Error::other("not working"));
                }
                fs::write(seen, format!("{:?} {:?}", progress.percent, progress.desc))?;
                note(&ledger, &job)
            }
        })
        .connect_to(url)
        .await?;
    worker.run_one(0, &["default"]).await?;
    let after = client.get_progress(jid).await?.ok_or("no progress")?;
    println!("{:?} {:?}", before.state, after.state);
    Ok(())
}

async fn batch(url: &str, ledger: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = connect(url).await?;
    let callback = Job::new("note", vec![Value::from(9), Value::Bool(false)]);
    let batch = Batch::builder().description("two").with_success_callback(callback);
    let mut batch = client.start_batch(batch).await?;
    for number in 0..2 {
        batch.add(Job::new("note", vec![Value::from(number), Value::Bool(false)])).await?;
    }
    let bid = batch.id().clone();
    batch.commit().await?;
    let ledger = ledger.to_owned();
    let mut worker = Worker::builder::<io::Error>()
        .register_blocking_fn("note", move |job| note(&ledger, &job))
        .connect_to(url)
        .await?;
    worker.run_one(0, &["default"]).await?;
    for rest in [0, 2] {
        for _ in 0..rest {
            worker.run_one(0, &["default"]).await?;
        }
        let status = client.get_batch_status(&bid).await?.ok_or("no batch")?;
        println!("{} of {}, {:?}", status.pending, status.total, status.success_callback_state);
    }
    Ok(())
}
