// BullMQ, its defaults: node bullmq.cjs HOME add QUEUE N | work CONCURRENCY | version
const fs = require("fs");
const path = require("path");

const [home, command, ...words] = process.argv.slice(2);
const { Queue, Worker } = require(path.join(home, "node_modules", "bullmq"));
const url = new URL(process.env.CELERY_BROKER_URL);
const connection = {
  host: url.hostname,
  port: Number(url.port),
  password: decodeURIComponent(url.password) || undefined,
  db: Number(url.pathname.slice(1) || 0),
  maxRetriesPerRequest: null,
};
const TEN = Number(process.env.BENCHMARK_TEN);
const LOOSE = Number(process.env.BENCHMARK_LOOSE);
const PACE = Number(process.env.BENCHMARK_PACE);
const MILLISECONDS = Number(process.env.BENCHMARK_MILLISECONDS);

function file(name) {
  return fs.openSync(path.join(process.env.BENCHMARK_WITNESS, name), "a", 0o644);
}

async function add(name, n) {
  const queue = new Queue(name, { connection });
  if (name === "ten") await queue.setGlobalConcurrency(TEN);
  if (name === "loose") await queue.setGlobalConcurrency(LOOSE);
  for (let begin = 0; begin < n; begin += 1000) {
    const size = Math.min(1000, n - begin);
    await queue.addBulk(Array.from({ length: size }, () => ({ name: "job", data: {} })));
  }
  await queue.close();
}

function work(concurrency) {
  const done = file("done");
  const started = file("started");
  const noop = async () => fs.writeSync(done, ".");
  const ten = async () => {
    await new Promise((resolve) => setTimeout(resolve, MILLISECONDS));
    fs.writeSync(done, ".");
  };
  const paced = async () => fs.writeSync(started, `${Number(process.hrtime.bigint()) / 1e9}\n`);
  const workers = [
    new Worker("noop", noop, { connection, concurrency }),
    new Worker("loose", noop, { connection, concurrency }),
    new Worker("ten", ten, { connection, concurrency }),
    new Worker("paced", paced, { connection, concurrency, limiter: { max: PACE, duration: 1000 } }),
  ];
  process.on("SIGTERM", async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    process.exit(0);
  });
}

async function main() {
  if (command === "add") await add(words[0], Number(words[1]));
  if (command === "work") work(Number(words[0]));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
