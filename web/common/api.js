/** The routes of the server as functions. If the server refuses, each throws an Error with the server's own words:
 * Refused for 400 and 404, Conflict for 409. Loading this module has no effect. */

import { Conflict, Refused } from "./errors.js";
import { fetchRoute } from "./host.js";
import { t } from "./words.js";

/** Status of an answer → the error to throw. */
const KINDS = {
  400: (message) => new Refused(message, 400),
  404: (message) => new Refused(message, 404),
  409: (message, body) => new Conflict(message, body && "revision" in body ? body : null),
};

async function readAnswer(response) {
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  const message = body?.error ?? t("the server answered {status}.", { status: response.status });
  throw KINDS[response.status]?.(message, body) ?? new Error(message);
}

/**
 * The answer of a route, as JSON.
 * @param {string} path
 * @param {Object<string, string>} query
 * @param {RequestInit} options
 */
export async function getJson(path, query = {}, options = {}) {
  const words = String(new URLSearchParams(query));
  return readAnswer(await fetchRoute(words ? `${path}?${words}` : path, { cache: "no-store", ...options }));
}

/**
 * The answer of a route to a request with a body, as JSON.
 * @param {string} path
 * @param {object} body
 * @param {RequestInit} options
 */
export async function postJson(path, body, options = {}) {
  return readAnswer(await fetchRoute(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...options,
  }));
}

/** The bytes of a file. @returns {Promise<Uint8Array>} */
export async function getBytes(address) {
  const response = await fetchRoute(address);
  if (!response.ok) throw new Error(t("the server answered {status}.", { status: response.status }));
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * The answer of a route to a file, as JSON.
 * @param {string} path
 * @param {Object<string, string>} query
 * @param {Blob} file
 * @param {RequestInit} options
 */
export async function postFile(path, query, file, options = {}) {
  const headers = { "Content-Type": "application/octet-stream" };
  return readAnswer(await fetchRoute(`${path}?${new URLSearchParams(query)}`, {
    method: "POST", headers, body: file, ...options,
  }));
}
