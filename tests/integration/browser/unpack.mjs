// Unpacks the Chromium of the package @sparticuz/chromium below node_modules, where Chromium and the
// libraries that it needs beside glibc stay until `npm ci` makes node_modules anew.

import { mkdtemp, rename, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const modules = fileURLToPath(new URL("node_modules/", import.meta.url));

// The package unpacks into the folder for temporary files and takes what it finds there for whole.
// A fresh folder that gets its name last leaves nothing half-made behind.
const fresh = await mkdtemp(`${modules}.chromium-`);
try {
  process.env.TMPDIR = fresh;
  // So named, it unpacks the libraries too that its first purpose, a function on AWS, lacks.
  process.env.AWS_LAMBDA_JS_RUNTIME = "nodejs20.x";
  const { default: chromium } = await import("@sparticuz/chromium");
  await chromium.executablePath();
  await rm(`${modules}.chromium`, { recursive: true, force: true });
  await rename(fresh, `${modules}.chromium`);
} finally {
  await rm(fresh, { recursive: true, force: true });
}
