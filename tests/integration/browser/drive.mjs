// Calls a function of a page in headless Chromium, as a JSON object on standard input asks, and writes
// what it returned as JSON to standard output. It ends when standard input does: whoever started it
// cannot leave a browser behind.
//
// Exit codes: 0 it returned, 3 no browser that can play H.264 and AAC, 1 anything else.

import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const NO_BROWSER = 3;
/** How often a browser is started that dies while it does. */
const STARTS = 3;

const PREFIX = "/__player__/";
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** What is called of each page, and whether it loads more of its files by then. */
const PAGES = {
  "page.html": { call: "playThrough", loadsMore: true },
  "upload.html": { call: "uploadInParts", loadsMore: false },
};
const FILES = {
  "page.html": ["text/html", here("page.html")],
  "page.js": ["text/javascript", here("page.js")],
  "upload.html": ["text/html", here("upload.html")],
  "upload.js": ["text/javascript", here("upload.js")],
  "players.js": ["text/javascript", here("players.js")],
  "frames.js": ["text/javascript", here("frames.js")],
  "sound_tap.js": ["text/javascript", here("sound_tap.js")],
  "hls.min.js": ["text/javascript", here("node_modules/hls.js/dist/hls.min.js")],
  "dash.all.min.js": ["text/javascript", here("node_modules/dashjs/dist/modern/umd/dash.all.min.js")],
};
const ARGUMENTS = [
  "--autoplay-policy=no-user-gesture-required",
  // Nothing but this machine can be reached, whatever the browser would like to fetch.
  "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
  "--no-proxy-server",
  // It takes the page, which nobody served, for one from far away that needs leave to reach this machine.
  "--disable-features=LocalNetworkAccessChecks",
];
const REQUIRED = ['video/mp4; codecs="avc1.640028"', 'audio/mp4; codecs="mp4a.40.2"'];

/** Serves a page under the origin of a URL, so that cookies reach it as in an app of its own. */
async function openPage(context, url, name) {
  const { origin } = new URL(url);
  const page = await context.newPage();
  await page.route(`${origin}${PREFIX}*`, async (route) => {
    const file = new URL(route.request().url()).pathname.slice(PREFIX.length);
    if (!(file in FILES)) return route.fulfill({ status: 404 });
    const [contentType, path] = FILES[file];
    return route.fulfill({ contentType, body: await readFile(path) });
  });
  await page.goto(`${origin}${PREFIX}${name}`);
  await page.waitForFunction((call) => call in window, PAGES[name].call);
  // While anything is routed, preflights are granted without asking the server.
  if (!PAGES[name].loadsMore) await page.unrouteAll();
  return page;
}

async function start({ path, env }) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await chromium.launch({
        executablePath: path,
        env: { ...process.env, ...env },
        args: ARGUMENTS,
        timeout: 60_000,
      });
    } catch (error) {
      // Once in some hundred starts, Chromium's threads trip over each other in getenv() and it dies.
      if (attempt === STARTS || !error.message.includes("has been closed")) throw error;
    }
  }
}

/** Returns the first browser that starts and knows the codecs, or ends with all reasons. */
async function launch(candidates, url) {
  const reasons = [];
  for (const candidate of candidates) {
    let browser;
    try {
      browser = await start(candidate);
      const page = await openPage(await browser.newContext(), url, "page.html");
      const lacking = await page.evaluate(
        (types) => types.filter((type) => !MediaSource.isTypeSupported(type)),
        REQUIRED,
      );
      await page.context().close();
      if (lacking.length === 0) return browser;
      reasons.push(`${candidate.path} cannot play ${lacking.join(" and ")}`);
    } catch (error) {
      reasons.push(`${candidate.path}: ${error.message.slice(0, 3000)}`);
    }
    await browser?.close();
  }
  process.stderr.write(`${reasons.join("\n") || "no browser was found"}\n`);
  process.exit(NO_BROWSER);
}

const input = createInterface({ input: process.stdin });
const [request] = await once(input, "line");
const { candidates, cookies, scratch, page: name, ...options } = JSON.parse(request);
process.env.TMPDIR = scratch;
let browser = null;
let abandoned = false;
input.on("close", async () => {
  abandoned = true;
  await browser?.close();
  await rm(scratch, { recursive: true, force: true });
  process.exit(1);
});

browser = await launch(candidates, options.url);
try {
  const { origin } = new URL(options.url);
  const context = await browser.newContext();
  await context.addCookies(
    Object.entries(cookies).map(([name, value]) => ({ name, value, url: `${origin}/` })),
  );
  const page = await openPage(context, options.url, name);
  const failed = [];
  page.on("response", (response) => {
    // A query may be a signature: it stays out of logs.
    if (response.status() >= 400) failed.push([response.status(), response.url().split("?")[0]]);
  });
  page.on("pageerror", (error) => process.stderr.write(`${error.stack}\n`));
  page.on("console", (message) => {
    if (message.type() === "error") process.stderr.write(`${message.text().replace(/\?[^\s']*/g, "")}\n`);
  });
  const report = await page.evaluate(
    ([call, given]) => window[call](given),
    [PAGES[name].call, options],
  );
  const result = { browser: browser.version(), failed_requests: failed, ...report };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  if (abandoned) await new Promise(() => {}); // the end of the input ends everything
  throw error;
} finally {
  await browser.close();
}
process.exit(0);
