// What every system driven from Node goes through. It knows callbacks and clocks, and no system.
//
// A system gives: push(text, delayMs), which resolves once the job is taken; work(onJob), which starts
// workers and resolves to a function that ends them. The result is one line of JSON on standard output.

const [jobs, delayed, lone, delayMs, pipeline] = process.argv.slice(3).map(Number);

const payload = (number, dueUs) => {
  const head = `${String(number).padStart(8, "0")}:${String(dueUs).padStart(16, "0")}:`;
  return head.padEnd(100, "x");
};
const nowUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
const percentile = (values, share) => {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
};

async function pushAll(push, first, count, delay) {
  let next = first;
  const one = async () => {
    while (next < first + count) {
      const number = next++;
      await push(payload(number, nowUs() + delay * 1000), delay);
    }
  };
  await Promise.all(Array.from({ length: pipeline }, one));
}

export async function measure(system) {
  const seen = new Map();
  let lateness = [];
  let wanted = 0;
  let done = () => {};
  const onJob = (text) => {
    const now = nowUs();
    const number = Number(text.slice(0, 8));
    seen.set(number, (seen.get(number) ?? 0) + 1);
    lateness.push(now - Number(text.slice(9, 25)));
    if (seen.size >= wanted) done();
  };
  const all = (count) => {
    wanted = count;
    return new Promise((resolve) => (done = resolve));
  };

  let began = performance.now();
  await pushAll(system.push, 0, jobs, 0);
  const pushPerS = (jobs * 1000) / (performance.now() - began);

  began = performance.now();
  let end = all(jobs);
  const stop = await system.work(onJob);
  await end;
  const workPerS = (jobs * 1000) / (performance.now() - began);

  const spans = [];
  end = all(jobs + lone);
  for (let number = jobs; number < jobs + lone; number++) {
    const start = performance.now();
    await system.push(payload(number, nowUs()), 0);
    spans.push((performance.now() - start) * 1000);
  }
  await end;

  lateness = [];
  end = all(jobs + lone + delayed);
  await pushAll(system.push, jobs + lone, delayed, delayMs);
  await end;
  await stop();
  const runs = [...seen.values()];
  console.log(
    JSON.stringify({
      push_per_s: pushPerS,
      work_per_s: workPerS,
      lone_p50_us: percentile(spans, 0.5),
      lone_p99_us: percentile(spans, 0.99),
      late_p50_us: percentile(lateness, 0.5),
      late_p99_us: percentile(lateness, 0.99),
      early: lateness.filter((us) => us < 0).length,
      lost: jobs + lone + delayed - seen.size,
      twice: runs.filter((count) => count > 1).length,
    }),
  );
}
