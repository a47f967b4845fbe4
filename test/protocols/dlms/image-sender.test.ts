import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { DlmsClient } from '#dlms/client';
import type { ImageProgress, ImageSlot } from '#dlms/cosem/image-transfer';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { activateImage, readImageStatus, sendImage } from '#dlms/image-sender';
import { PASSWORD, testMeter } from '../../interop/dlms-meter.ts';

const Sender = suite('image sender');

/** A slot in memory, which may lose what was written. */
function memorySlot() {
  let bytes = new Uint8Array(0);
  const slot: ImageSlot & { writes: number; lose: (offset: number) => boolean } = {
    capacity: 1 << 16,
    writes: 0,
    lose: () => false,
    load: () => undefined,
    begin: ({ size }: ImageProgress) => {
      bytes = new Uint8Array(size);
      return true;
    },
    write(offset, data) {
      this.writes++;
      if (this.lose(offset)) return false;
      bytes.set(data, offset);
      return true;
    },
    save: () => {},
    read: (offset, length) => bytes.slice(offset, offset + length),
    digest: (length) => createHash('sha256').update(bytes.subarray(0, length)).digest(),
  };
  return slot;
}

const content = Uint8Array.from({ length: 9_990 }, (_, i) => (i * 11) & 0xff);
const image = Buffer.concat([content, createHash('sha256').update(content).digest()]);
const toSend = { id: asciiBytes('image'), bytes: image };

function connect(images: Parameters<typeof testMeter>[0] = {}) {
  const slot = memorySlot();
  const meter = testMeter({ imageSlot: slot, ...images });
  const session = meter.server.session('sender')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
  const out = new Uint8Array(2048);
  let left = Number.POSITIVE_INFINITY;
  const run = <T>(operation: Exchange<T>): T =>
    exchangeSync(operation, (frame) => {
      if (left-- <= 0) throw new Error('the line is cut');
      return out.subarray(0, session.receive(frame, out, 0));
    });
  run(client.associate());
  return { slot, client, run, cutAfter: (frames: number) => (left = frames) };
}

const codeOf = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    return error instanceof S3mpError ? error.code : String(error);
  }
  return 'done';
};

Sender('sends every block once, tells how far it is, and has the image verified and activated', () => {
  const activated: number[] = [];
  const { slot, client, run } = connect({ images: { activate: (size) => activated.push(size) > 0 } });
  const progress: number[] = [];
  run(sendImage(client, { ...toSend, onProgress: (sent, blocks) => progress.push(sent / blocks) }));
  assert.is(slot.writes, 20);
  assert.is(progress.length, 20);
  assert.is(progress.at(-1), 1);
  assert.is(run(readImageStatus(client)), 3);
  run(activateImage(client));
  assert.equal(activated, [image.length]);
  assert.is(run(readImageStatus(client)), 5);
});

Sender('begun again after a cut, it sends only what is missing', () => {
  const { slot, client, run, cutAfter } = connect();
  cutAfter(3 + 12);
  assert.match(
    codeOf(() => run(sendImage(client, toSend))),
    /line is cut/,
  );
  const before = slot.writes;
  assert.ok(before > 5 && before < 20, String(before));
  cutAfter(Number.POSITIVE_INFINITY);
  run(sendImage(client, toSend));
  assert.is(slot.writes, 20);
  assert.is(run(readImageStatus(client)), 3);
});

Sender('an image that the meter does not want ends in an error, as does one that does not stay', () => {
  const refusing = connect({ images: { judge: () => false } });
  assert.is(
    codeOf(() => refusing.run(sendImage(refusing.client, toSend))),
    'dlms.refused',
  );
  const broken = connect();
  broken.slot.lose = (offset) => offset === 512;
  assert.not.match(
    codeOf(() => broken.run(sendImage(broken.client, toSend))),
    /done/,
  );
  const large = connect();
  const tooLarge = { id: toSend.id, bytes: new Uint8Array(large.slot.capacity + 1) };
  assert.is(
    codeOf(() => large.run(sendImage(large.client, tooLarge))),
    'dlms.refused',
  );
});

Sender.run();
