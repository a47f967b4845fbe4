/**
 * Longest wait for something that must come, ms. It judges nothing: it ends a test that would wait for ever, and is long
 * enough for a slow machine that does other things at the same time. What has to be quick says so with its own limit.
 */
export const GUARD_MS = 60_000;
