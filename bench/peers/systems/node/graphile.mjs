// graphile-worker on a PostgreSQL that somebody else started: graphile.mjs URL JOBS DELAYED LONE DELAY_MS PIPELINE
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { measure } from "./measure.mjs";

const connectionString = process.argv[2];
const logger = new Logger(() => () => {});
const utils = await makeWorkerUtils({ connectionString, logger, maxPoolSize: 16 });
await utils.migrate();

await measure({
  push: (text, delay) =>
    utils.addJob("load", { text }, delay > 0 ? { runAt: new Date(Date.now() + delay) } : {}),
  work: async (onJob) => {
    const runner = await run({
      connectionString,
      logger,
      concurrency: 16,
      maxPoolSize: 16,
      pollInterval: 100,
      noHandleSignals: true,
      taskList: { load: async (payload) => onJob(payload.text) },
    });
    return () => runner.stop();
  },
});
await utils.release();
process.exit(0);
