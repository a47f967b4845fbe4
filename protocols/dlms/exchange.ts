/**
 * A client operation as a generator: it yields a request frame and is resumed with the answer's frame, until it returns.
 * Who drives it owns the transport, the timeouts, and sending the very same bytes again when an answer is lost.
 */

/** Yields frames to send (valid until resumed) and takes the answers (valid during the resumption). */
export type Exchange<T> = Generator<Uint8Array, T, Uint8Array>;

/** Runs an operation over something that answers at once. */
export function exchangeSync<T>(operation: Exchange<T>, send: (frame: Uint8Array) => Uint8Array): T {
  let step = operation.next();
  while (!step.done) step = operation.next(send(step.value));
  return step.value;
}

/**
 * Runs an operation over a transport; a rejection of `send` ends it.
 * @param send  resolves with the answer to the frame, after as many repetitions as the transport finds right
 */
export async function exchange<T>(
  operation: Exchange<T>,
  send: (frame: Uint8Array) => Promise<Uint8Array>,
): Promise<T> {
  let step = operation.next();
  while (!step.done) step = operation.next(await send(step.value));
  return step.value;
}
