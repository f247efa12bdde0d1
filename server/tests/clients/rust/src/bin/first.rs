//! Pushes a job, and is the worker that does it.

use faktory::{Client, Job, Worker};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Client::connect().await?.enqueue(Job::new("add", vec![5, 4])).await?;
    let mut worker = Worker::builder::<std::io::Error>()
        .register_fn("add", |job| async move {
            println!("{} and {}", job.args()[0], job.args()[1]);
            Ok(())
        })
        .connect()
        .await?;
    worker.run(&["default"]).await?;
    Ok(())
}
