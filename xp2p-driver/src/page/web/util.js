// What all parts of the page use.

export const $ = (id) => document.getElementById(id);

// The server's own words, or what to do when there is no server any more.
export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Asks the local server. `json` or `body` make it a POST.
export async function api(path, { json, body, signal, timeout = 15000 } = {}) {
  const options = { signal: signal ?? AbortSignal.timeout(timeout), cache: "no-store" };
  if (json !== undefined) {
    options.method = "POST";
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(json);
    // A release of the control pad arrives even if the page is closed with the button held.
    options.keepalive = true;
  } else if (body !== undefined) {
    options.method = "POST";
    options.headers = { "content-type": "application/octet-stream" };
    options.body = body;
  }
  let response;
  try {
    response = await fetch(`api/${path}`, options);
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ApiError(
      late ? "xp2p does not answer in time; try again" : "xp2p cannot be reached; is it still running? Start it again and open the address that it prints",
      0, null);
  }
  const text = await response.text();
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Words of the server for a person.
  }
  if (!response.ok) {
    const error = value?.error;
    throw new ApiError(error?.message ?? (text.trim() || `xp2p answers ${response.status}`), response.status, error?.code ?? null);
  }
  return value;
}

let clearing = 0;

// Says something where everybody looks. Good news go away by themselves.
export function say(text, kind = "good") {
  const place = $("message");
  place.textContent = text;
  place.dataset.kind = kind;
  clearTimeout(clearing);
  clearing = setTimeout(() => { place.textContent = ""; }, kind === "bad" ? 12000 : 5000);
}

export function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Changes a text only if it is another one: nothing is announced twice.
export function set(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
}

const two = (number) => String(number).padStart(2, "0");

// A time of the day in the zone of this browser.
export function clock(unix) {
  const date = new Date(unix * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// For programs that download.
export function save(blob, name) {
  const link = make("a", null, { download: name });
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
