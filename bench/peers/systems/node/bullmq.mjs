// BullMQ on a Redis that somebody else started: bullmq.mjs PORT JOBS DELAYED LONE DELAY_MS PIPELINE
import { Queue, Worker } from "bullmq";
import { measure } from "./measure.mjs";

const connection = { host: "127.0.0.1", port: Number(process.argv[2]) };
const queue = new Queue("load", { connection });
const options = { removeOnComplete: true, removeOnFail: true };

await measure({
  push: (text, delay) => queue.add("load", { text }, delay > 0 ? { ...options, delay } : options),
  work: async (onJob) => {
    const worker = new Worker("load", async (job) => onJob(job.data.text), {
      connection,
      concurrency: 64,
    });
    await worker.waitUntilReady();
    return () => worker.close();
  },
});
await queue.close();
process.exit(0);
