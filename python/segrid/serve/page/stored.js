/**
 * What the browser keeps between two loads of the page: the token, and for each image or video
 * the clicks that the server does not give back.
 */

const PREFIX = "segrid:work:";
const TOKEN = "segrid:token";
const KEYS_OFF = "segrid:single-keys-off";
const KEPT = 12; // images and videos, those that were used last

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export function keptToken() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function keepSingleKeys(on) {
  if (on) localStorage.removeItem(KEYS_OFF);
  else localStorage.setItem(KEYS_OFF, "1");
}

export function keptSingleKeys() {
  return localStorage.getItem(KEYS_OFF) === null;
}

/** @returns {boolean} false where the browser has no room for it */
export function keepWork(id, state) {
  const text = JSON.stringify({ ...state, at: Date.now() });
  for (;;) {
    const older = oldestFirst().filter((key) => key !== PREFIX + id);
    while (older.length >= KEPT) localStorage.removeItem(older.shift());
    try {
      localStorage.setItem(PREFIX + id, text);
      return true;
    } catch {
      if (older.length === 0) return false;
      localStorage.removeItem(older[0]);
    }
  }
}

export function keptWork(id) {
  return read(PREFIX + id);
}

/** The ids of the works of a kind that are kept, those that were used longest ago first. */
export function keptIds(kind) {
  return oldestFirst()
    .filter((key) => read(key)?.kind === kind)
    .map((key) => key.slice(PREFIX.length));
}

export function forgetWork(id) {
  localStorage.removeItem(PREFIX + id);
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function oldestFirst() {
  return Object.keys(localStorage)
    .filter((key) => key.startsWith(PREFIX))
    .sort((a, b) => (read(a)?.at ?? 0) - (read(b)?.at ?? 0));
}
