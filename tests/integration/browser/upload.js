// Uploads a film in parts as docs/api.md says it, with nothing but what every browser has.

const PARTS_PER_REQUEST = 5;
const HEADER_BYTES = 8;

/** Returns a film with so many bytes, all different, behind it in a box that players pass over. */
function padded(film, bytes) {
  const numbers = new Uint32Array(bytes / 4).map((_, number) => number);
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  header.setUint32(0, HEADER_BYTES + bytes);
  new TextEncoder().encodeInto("free", new Uint8Array(header.buffer, 4));
  return new Blob([film, header, numbers], { type: "video/mp4" });
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

async function sha256(blob) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns whether a page of this origin may send a header that the signature does not name. */
async function mayAlsoSend(header, { url, headers }, body) {
  try {
    await fetch(url, { method: "PUT", headers: { ...headers, [header]: "1" }, body });
    return true;
  } catch {
    return false;
  }
}

window.uploadInParts = async ({ token, film, padding }) => {
  const file = padded(fromBase64(film), padding);

  async function call(method, path, body) {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(`/api/videos${path}`, { method, headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  const { video, upload } = await call("POST", "", {
    title: "From a browser",
    file_name: "film.mp4",
    content_type: file.type,
    size_bytes: file.size,
  });
  const sent = [];
  let otherHeader = true;
  for (let first = 1; first <= upload.parts; first += PARTS_PER_REQUEST) {
    const parts = [];
    for (let number = first; number < first + PARTS_PER_REQUEST && number <= upload.parts; number += 1) {
      const body = file.slice((number - 1) * upload.part_bytes, number * upload.part_bytes);
      parts.push({ number, body, sha256: await sha256(body) });
    }
    const wanted = { parts: parts.map(({ number, sha256 }) => ({ number, sha256 })) };
    const signed = await call("POST", `/${video.video_id}/upload/parts`, wanted);
    if (first === 1) otherHeader = await mayAlsoSend("x-other", signed.parts[0], parts[0].body);
    await Promise.all(
      signed.parts.map(async ({ number, url, method, headers }, index) => {
        const answer = await fetch(url, { method, headers, body: parts[index].body });
        if (!answer.ok) throw new Error(`part ${number}: ${answer.status} ${await answer.text()}`);
        const [etag, checksum] = ["etag", "x-amz-checksum-sha256"].map((n) => answer.headers.get(n));
        sent.push({ number, origin: new URL(url).origin, etag, checksum, sha256: parts[index].sha256 });
      }),
    );
  }
  const { arrived } = await call("GET", `/${video.video_id}/upload`);
  const done = await call("POST", `/${video.video_id}/upload/complete`);
  return { origin: location.origin, video: done, size: file.size, sent, arrived, otherHeader };
};
