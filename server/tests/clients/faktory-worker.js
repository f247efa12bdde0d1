// A worker and a producer on the package `faktory-worker`, as `clients.rs` drives them.
//
// worker URL LEDGER           appends the number of each job to the ledger, until it is told to end
// push URL LEDGER FIRST COUNT DELAY_MS FAIL
//                             pushes jobs, each until it is taken, and notes their numbers
const fs = require("fs");
const faktory = require("faktory-worker");

const [role, url, ledger, first, count, delayMs, fails] = process.argv.slice(2);

function note(number, fails) {
  const marker = `${ledger}.failed-${number}`;
  if (fails && !fs.existsSync(marker)) {
    fs.writeFileSync(marker, "");
    throw new Error("once");
  }
  fs.appendFileSync(ledger, `${number}\n`);
}

async function work() {
  faktory.register("note", async (number, fails) => note(number, fails));
  const worker = await faktory.work({ url, concurrency: 2, beatInterval: 1, timeout: 5, labels: ["node"] });
  worker.on("error", (error) => console.error(`again: ${error.message}`));
}

async function push() {
  let client = null;
  for (let number = Number(first); number < Number(first) + Number(count); number += 1) {
    for (;;) {
      try {
        client ||= await faktory.connect({ url });
        const job = client.job("note", number, fails === "fail");
        job.jid = `job-${String(number).padStart(8, "0")}`;
        if (Number(delayMs)) job.at = new Date(Date.now() + Number(delayMs));
        await job.push();
        break;
      } catch (error) {
        console.error(`again: ${error.message}`);
        client = null;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    fs.appendFileSync(ledger, `${number}\n`);
  }
  process.exit(0);
}

(role === "worker" ? work() : push()).catch((error) => {
  console.error(error);
  process.exit(1);
});
