// Makes the pictures of the documents: a pipeline of two streams runs for MINUTES, then its page is photographed.
// usage: node pictures.mjs BEKK DIRECTORY [MINUTES]. Started by scripts/pictures.sh, which installs what it needs.
import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(process.cwd() + "/");
const puppeteer = require("puppeteer-core");
const [bekk, pictures, minutes = "16"] = process.argv.slice(2);
const place = mkdtempSync(join(tmpdir(), "bekk-pictures-"));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const CONFIG = `
[streams.events]
files = ["data/events-*.csv"]
table = "events"
key = ["event_id"]
columns = [
  { name = "event_id", type = "int8" },
  { name = "event_type", type = "text", allowed = ["view", "purchase", "add_to_cart"] },
  { name = "category", type = "text", nullable = true },
  { name = "price", type = "decimal(12,2)", min = "0" },
  { name = "quantity", type = "int4" },
  { name = "event_time", type = "timestamptz" },
]
[streams.orders]
files = ["data/orders-*.csv"]
table = "sales.orders"
key = ["order_id"]
partitions = 2
columns = [
  { name = "order_id", type = "int8" },
  { name = "customer", type = "text" },
  { name = "amount", type = "decimal(14,2)" },
  { name = "ordered_at", type = "timestamptz" },
]
`;
const EVENTS = "event_id,event_type,category,price,quantity,event_time\n";
const ORDERS = "order_id,customer,amount,ordered_at\n";
const CUSTOMERS = ["Ada Lovelace", "Grace Hopper", '"Mary ""May"" Jackson"', "Alan Turing", "Barbara Liskov"];
const one = (list) => list[Math.floor(Math.random() * list.length)];
let count = 0;
const event = (price = (200 * Math.random()).toFixed(2), type = one(["view", "view", "view", "add_to_cart", "purchase"])) =>
  `${(count += 1)},${type},${one(["kitchen", "garden", "books", "toys"])},${price},${1 + (count % 3)},${new Date().toISOString()}\n`;
const order = (amount = (900 * Math.random()).toFixed(2)) => `${(count += 1)},${one(CUSTOMERS)},${amount},${new Date().toISOString()}\n`;
const many = (length, make) => Array.from({ length }, () => make()).join("");
const add = (name, text) => appendFileSync(join(place, "data", name), text);

// A tenth of a second of a shop: it breathes, a file arrives at once now and then, and somebody mistypes.
function tick(at) {
  const [last, hour] = [`events-${1400 + Math.floor(at / 1500)}.csv`, `orders-${1400 + Math.floor(at / 3000)}.csv`];
  if (at % 1500 === 0) add(last, EVENTS);
  if (at % 3000 === 0) add(hour, ORDERS);
  add(last, many(Math.round(60 + 35 * Math.sin(at / 250) + 12 * Math.random()), event));
  if (at % 3 === 0) add(hour, order());
  if (at % 2600 === 1900) add(`events-late-${at}.csv`, EVENTS + many(40_000, event));
  if (at % 700 === 350) add(last, event("12.50 EUR"));
  if (at % 1900 === 950) add(last, event("7.20", "refund"));
  if (at % 2300 === 1150) add(hour, order("1.005"));
}

mkdirSync(join(place, "data"));
writeFileSync(join(place, "bekk.toml"), CONFIG);
const up = spawn(bekk, ["up", "--http", "127.0.0.1:0"], { cwd: place, env: { PATH: process.env.PATH, POSTGRES_PORT: "0" } });
let said = "";
for (const pipe of [up.stderr, up.stdout]) pipe.on("data", (text) => (said += text));
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"], headless: true });
let feed;
try {
  const begun = Date.now();
  let at = 0;
  feed = setInterval(() => { for (const due = (Date.now() - begun) / 100; at < due; at += 1) tick(at); }, 20);
  await sleep(60_000 * Number(minutes));
  const address = said.match(/http +(http:\/\/[0-9.:]+)/)[1];
  const page = await browser.newPage();
  for (const [view, name, height] of [["/", "overview", 1110], ["/dead-letters", "dead-letters", 634]]) {
    await page.setViewport({ width: 1280, height });
    await page.goto(address + view, { waitUntil: "load" });
    await sleep(5000);
    await page.screenshot({ path: join(pictures, `${name}.webp`), type: "webp", quality: 88, fullPage: view === "/" });
  }
} finally {
  clearInterval(feed);
  await browser.close();
  up.kill("SIGTERM");
  await new Promise((done) => (up.exitCode === null ? up.once("exit", done) : done()));
  rmSync(place, { recursive: true, force: true });
}
