// Drives the page of a running pipeline in headless Chromium. usage: node page.mjs BEKK [SCREENSHOTS]
// Started by scripts/test-page.sh, which installs Chromium, puppeteer-core and axe-core.
import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(process.cwd() + "/");
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [bekk, screenshots] = process.argv.slice(2);
const place = mkdtempSync(join(tmpdir(), "bekk-page-"));
const TOKEN = "a-token-of-more-than-16-bytes";
const VIEWS = ["/", "/?span=24h", "/streams", "/files", "/log", "/log?topic=events&partition=0", "/groups", "/dead-letters", "/config"];
const HEADER = "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time\n";
const line = (id, price = "1.50") => `00000000-0000-0000-0000-${String(id).padStart(12, "0")},view,1,2,garden,${price},1,,2026-01-01T00:00:00Z\n`;
const lines = (from, to, price) => Array.from({ length: to - from }, (_, at) => line(from + at, price)).join("");
let passed = 0;

function check(what, holds, detail = "") {
  if (!holds) throw new Error(`${what} ${detail}`);
  passed += 1;
  console.log(`ok ${what}`);
}

async function until(what, seconds, holds) {
  const deadline = Date.now() + 1000 * seconds;
  for (;;) {
    const found = await holds();
    if (found) return check(what, true);
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

const environment = { PATH: process.env.PATH, POSTGRES_PORT: "0" };
const write = (name, text) => writeFileSync(join(place, "data", name), text);
mkdirSync(join(place, "data"));
write("a.csv", HEADER + lines(0, 500));
writeFileSync(join(place, "token"), `${TOKEN}\n`, { mode: 0o600 });
const started = [];

// Runs bekk until it is stopped, and keeps what it says.
function start(...args) {
  const child = spawn(bekk, [...args, "--http", "127.0.0.1:0"], { cwd: place, env: environment });
  child.said = "";
  for (const pipe of [child.stderr, child.stdout]) pipe.on("data", (text) => (child.said += text));
  started.push(child);
  return child;
}

// Ends it, and waits until it has.
async function end(child, signal = "SIGTERM") {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await new Promise((done) => child.once("exit", done));
}

async function address(child) {
  let at;
  await until("it says where it answers", 60, () => (at = child.said.match(/http:\/\/[0-9.:]+/)?.[0]));
  return at;
}

const up = start("up", "--http-token-file", "token");

const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"], headless: true });

// CPU seconds that the process has used.
function cpu() {
  const fields = readFileSync(`/proc/${up.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function run() {
  let at = await address(up);
  const page = await browser.newPage();
  const faults = [];
  // A page of plain text names no icon, so the browser asks for /favicon.ico.
  const isOfIcon = (message) => message.location().url?.endsWith("/favicon.ico");
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && !isOfIcon(message) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("dialog", (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => request.url().startsWith(at) || faults.push(`foreign: ${request.url()}`));
  const text = () => page.evaluate(() => document.body.innerText);
  const has = (what) => async () => (await text()).includes(what);
  const open = (path) => page.goto(at + path, { waitUntil: "load" });

  async function axed(what) {
    // The page's policy allows no script but its own; the debugger may.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    const shown = serious.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`).join("\n");
    check(`axe finds nothing serious in ${what}`, serious.length === 0, shown);
  }

  await page.setViewport({ width: 1280, height: 900 });
  await open("/");
  await until("500 rows are shown without a reload", 60, has("500 rows"));
  appendFileSync(join(place, "data", "a.csv"), lines(500, 750));
  await until("numbers move", 30, has("750 rows"));
  await until("it is healthy", 30, has("Healthy"));
  // The first paint, beside that of a page with one word, which shows how long the browser itself takes.
  const paint = async (path) => {
    await open(path);
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length);
    return page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  };
  const paints = [], bare = [];
  for (let round = 0; round < 9; round += 1) {
    bare.push(await paint("/healthz"));
    paints.push(await paint("/"));
  }
  for (const times of [paints, bare]) times.sort((a, b) => a - b);
  const parts = await Promise.all(["/", "/page.css", "/page.js", "/icon.svg"].map(async (path) => (await (await fetch(at + path)).arrayBuffer()).byteLength));
  const size = parts.reduce((sum, length) => sum + length);
  console.log(`size: ${size} bytes, of which the overview ${parts[0]}`);
  check("page, style and script together are smaller than 200 kB", size < 200_000, `${size}`);
  console.log(`first paint: ${paints.map((ms) => ms.toFixed(0)).join(", ")} ms; of a page with one word: ${bare.map((ms) => ms.toFixed(0)).join(", ")} ms`);
  check("the median first paint takes less than 100 ms more than that of one word", paints[4] - bare[4] < 100, `${paints} ${bare}`);

  // A chart tells the value under the pointer, and by the arrow keys.
  await new Promise((done) => setTimeout(done, 11_000));
  const plot = await page.$("#throughput .plot .area");
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + box.width - 1, box.y + box.height / 2);
  const hover = () => page.$eval("#throughput .hover", (found) => found.textContent);
  check("a chart shows the value under the pointer", /\d\d:\d\d:\d\d · applied .+ · read /.test(await hover()), await hover());
  await page.mouse.move(5, 5);
  await page.focus("#throughput .plot");
  await page.keyboard.press("ArrowLeft");
  check("and at the arrow keys", /\d\d:\d\d:\d\d · applied /.test(await hover()), await hover());
  await page.keyboard.press("Escape");

  write("b.csv", HEADER + line(1000, "<script>alert(1)</script>") + line(1001, "abc"));
  await until("a dead letter is announced", 30, has("2 dead letters wait for you"));
  await open("/dead-letters");
  await until("and shown as text, its field marked", 30, () => page.$$eval("mark", (marks) => marks.some((mark) => mark.textContent === "<script>alert(1)</script>")));
  write("bad.csv", "no,header\n1,2\n");
  await open("/");
  await until("a bad file is what the first line says", 30, has("A file is set aside"));
  await open("/files?q=bad");
  check("and found by search", (await text()).includes("its header lacks"));
  rmSync(join(place, "data", "bad.csv"));

  // PostgreSQL is stopped, as an accident would stop it.
  await open("/");
  await until("the page is well before the accident", 60, has("Healthy"));
  const data = execFileSync("sh", ["-c", "find / -xdev -name postmaster.pid -path '*postgres*' 2>/dev/null | xargs grep -l . 2>/dev/null"], { encoding: "utf8" });
  const pidOf = (file) => Number(readFileSync(file, "utf8").split("\n")[0]);
  const port = up.said.match(/postgres +127\.0\.0\.1:(\d+)/)[1];
  const postmaster = data.trim().split("\n").find((file) => readFileSync(file, "utf8").split("\n")[3] === port);
  // A process that starts the server takes this lock, so the server stays away until the test releases it.
  const held = spawn("flock", ["--close", join(place, ".bekk/postgres/start.lock"), "sleep", "30"]);
  process.kill(pidOf(postmaster), "SIGQUIT");
  await until("PostgreSQL is called unreachable", 30, has("PostgreSQL is unreachable"));
  check("and what was known stays", (await text()).includes("750 rows"));
  held.kill();
  await until("it comes back, and all is well again", 60, has("Healthy"));

  // With the token the page retries and discards dead letters, and pauses and resumes the sink.
  const press = async (button) => Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.click(button)]);
  const signIn = async (token) => { await page.type("#token", token); await press("main button"); };
  await open("/groups");
  await press('button[value="pause"]');
  check("who has not signed in is asked for the token", page.url().includes("/sign-in"));
  await axed("the form to sign in");
  await signIn("not the token at all");
  check("a wrong token is refused", (await text()).includes("This is not the token."));
  await signIn(TOKEN);
  check("the form leads back to where it came from", page.url().startsWith(`${at}/groups`));
  await press('button[value="pause"]');
  check("the page says that the sink is paused", (await text()).includes("The sink is paused"));
  await axed("the groups, signed in");
  appendFileSync(join(place, "data", "a.csv"), lines(750, 760));
  await open("/");
  await until("a paused sink is what the first line says", 30, has("Paused on the page"));
  await until("and its lag grows", 30, has("lag 10 records"));
  await open("/groups");
  await press('button[value="resume"]');
  await open("/");
  await until("the rows are there after it resumes", 30, has("760 rows"));
  await open("/dead-letters");
  await axed("the dead letters, signed in");
  await press('.letter button[value="retry"]');
  check("a letter that is still wrong stays, with the reason", /1 still open\..* stays: /.test(await text()), await text());
  check("a letter is not discarded by one press", await page.$eval('.letter button[value="discard"]', (button) => !button.checkVisibility()));
  await page.click(".letter .confirm summary");
  await axed("the question before a letter is discarded");
  await press('.letter button[value="discard"]');
  check("a letter is discarded", (await text()).includes("1 dead letter discarded"));
  await until("and no longer listed", 30, async () => (await page.$$(".letter")).length === 1);
  const act = (headers) => fetch(`${at}/act`, { method: "POST", redirect: "manual", headers, body: "act=pause" });
  check("a foreign page changes nothing", (await act({ origin: "https://evil.example" })).status === 403);
  await press("footer button");
  check("who signs out stays in the view", page.url().startsWith(`${at}/dead-letters`));
  check("and has to sign in again", (await text()).includes("sign in to make changes"));

  console.log("100,000 dead letters …");
  // A file whose first thousand records are all rejects would be set aside.
  write("many.csv", HEADER + lines(0, 500) + lines(0, 600) + lines(2_000, 102_000, "no price"));
  await until("100,001 dead letters are counted", 120, has("100,001 dead letters wait for you"));
  const begun = Date.now();
  await open("/dead-letters");
  console.log(`the dead letters' view took ${Date.now() - begun} ms`);
  check("fifty of them are listed", (await page.$$(".letter")).length === 50);
  check("in less than 200 kB", (await page.content()).length < 200_000);

  console.log("10,000 files …");
  for (let at = 0; at < 10_000; at += 1) write(`f${at}.csv`, HEADER + line(200_000 + at));
  await open("/");
  await until("10,003 files are counted", 180, has("10,003"));
  await until("all of them are read", 180, has("10,760 rows"));
  await open("/files?page=3");
  check("fifty of them are listed", (await page.$$("table.files tbody tr")).length === 50);
  check("in less than 200 kB", (await page.content()).length < 200_000);

  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    for (const [width, height] of [[360, 740], [1280, 900], [3840, 2160]]) {
      await page.setViewport({ width, height });
      for (const view of VIEWS) {
        await open(view);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        check(`${view} fits ${width} px`, wide <= width, `it is ${wide} px wide`);
        if (screenshots) await page.screenshot({ path: join(screenshots, `${view.replace(/\W+/g, "-").replace(/^-|-$/g, "") || "overview"}-${width}-${scheme}.png`), fullPage: width !== 3840 });
        if (width === 3840) continue;
        await page.evaluate(() => document.querySelectorAll("details").forEach((found) => (found.open = true)));
        await axed(`${view}, ${scheme}, ${width} px`);
      }
    }
  }
  // The one that is refused is the wrong token.
  const unexpected = faults.filter((fault) => !fault.includes("ERR_INCOMPLETE_CHUNKED") && !fault.includes("status of 403"));
  check("nothing was loaded from elsewhere, refused or thrown", unexpected.length === 0 && faults.length - unexpected.length <= 2, faults.join("\n"));
  await page.close();

  const use = async (seconds) => { const before = cpu(); await new Promise((done) => setTimeout(done, 1000 * seconds)); return (100 * (cpu() - before)) / seconds; };
  const idle = await use(10);
  // A browser keeps at most six connections to one server, so these ten are ten browsers.
  const viewers = await Promise.all(Array.from({ length: 10 }, () => fetch(`${at}/events?view=/`)));
  viewers.forEach((viewer) => viewer.body.pipeTo(new WritableStream()).catch(() => {}));
  await new Promise((done) => setTimeout(done, 3000));
  const watched = await use(10);
  const each = (watched - idle) / viewers.length;
  console.log(`CPU with 10,004 files: ${idle.toFixed(1)} % of a core while nobody looks, ${watched.toFixed(1)} % with ${viewers.length} viewers, ${each.toFixed(2)} % for each`);
  check("each of ten viewers takes less than 1 % of a core", each < 1);
  await end(up);
  await apart();
}

// Ingest and sink as separate processes: each page says that the other one no longer runs.
async function apart() {
  const ingest = start("ingest");
  const sink = start("sink");
  const page = await browser.newPage();
  const has = (what) => async () => (await page.evaluate(() => document.body.innerText)).includes(what);
  await page.goto(await address(sink));
  await until("the sink's page is well", 60, has("Healthy"));
  await end(ingest, "SIGKILL");
  writeFileSync(join(place, "data", "late.csv"), HEADER + lines(900_000, 900_010));
  await until("a killed owner of the log is what the sink's page says", 30, has("No ingest runs"));
  // While another process takes the log over, the first line reports that for a moment.
  await until("with the command that helps", 30, has("bekk ingest"));
  const next = start("ingest");
  await until("the new rows come", 60, has("10,770 rows"));
  await page.goto(await address(next));
  await until("ingest's page is well", 30, has("Healthy"));
  await end(sink);
  await until("a stopped sink is what ingest's page says", 30, has("No sink runs"));
  // While another process takes the log over, the first line reports that for a moment.
  await until("with the command that helps", 30, has("bekk sink"));
  check("what was known stays", await has("10,770 rows")());
  // A fact that is new shows no age.
  await until("with its age", 30, has("as of "));
  await page.close();
}

let code = 0;
try {
  await run();
} catch (error) {
  code = 1;
  console.error(`FAILED: ${error.message}\n${started.map((child) => child.said).join("\n")}`);
} finally {
  await browser.close();
  for (const child of started) await end(child);
  rmSync(place, { recursive: true, force: true });
}
console.log(`${passed} passed, ${code} failed`);
process.exit(code);
