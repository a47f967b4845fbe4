/** The display's driver on simulated panels that decode its I2C bytes, and on the files of a kernel framebuffer. */

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, inflateSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GLYPH_WIDTH, glyphRow } from '#base/font';
import type { Display, ScreenRow } from '#hw/display';
import { Bitmap } from '#hw/display/bitmap';
import { openOled, RETRY_MS } from '#hw/display/oled';
import { type DisplaySettings, openDisplay } from '#hw/display/open';
import { ssd1306Panel } from '#hw/display/panel';
import { type Controller, MAX_TRANSFER } from '#hw/display/ssd1306';
import { createLog } from '#hw/log';
import { openSimDisplay } from '#hw/sim/display';
import { encodePng } from '#hw/sim/png';
import { SimSsd1306 } from '#hw/sim/ssd1306';
import { commandWorks, needs } from '#test/needs';
import { seeded } from '#test/random';

const SCREEN: ScreenRow[] = ['1-ff00:0:112', '10.0.0.7', { big: '1234 W' }, '1979.36 kWh   231.4 V', 'output ON'];

function rig(controller: Controller = 'ssd1306', height = 64) {
  const chip = new SimSsd1306(controller, height);
  const state = { now: 0, absent: false, transfers: 0, longest: 0, lines: [] as string[] };
  const device = async () => ({
    name: 'test',
    write: async (bytes: Uint8Array) => {
      if (state.absent) throw new Error('ENXIO: no such device or address');
      state.transfers++;
      state.longest = Math.max(state.longest, bytes.length);
      chip.write(bytes);
    },
    close: async () => {},
  });
  const log = createLog('display', { write: (line) => state.lines.push(line) });
  const panel = ssd1306Panel('test', device, controller, height);
  const display = openOled({ panel, height, log, clock: () => state.now });
  return { chip, state, display };
}

/** Hexadecimal, so that a difference is one line. */
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const drawn = (screen: readonly ScreenRow[], height = 64, left = 0): Uint8Array => {
  const bitmap = new Bitmap(128, height);
  bitmap.draw(screen, left);
  return bitmap.bytes;
};

async function show(display: Display, screen: readonly ScreenRow[]): Promise<void> {
  display.show(screen);
  await display.settled!();
}

/** Shows a screen. @returns its shift, which changes with the minute: the same before and after */
async function shownWith(display: Display, screen: readonly ScreenRow[]): Promise<number> {
  const shift = () => Math.floor(performance.now() / 60_000) % 3;
  for (;;) {
    const before = shift();
    await show(display, screen);
    if (shift() === before) return before;
  }
}

const Panels = suite('OLED driver');

Panels('what the chip decodes from its bytes is the screen, on each controller and size', async () => {
  for (const controller of ['ssd1306', 'sh1106'] as const)
    for (const height of [64, 32]) {
      const { chip, display, state } = rig(controller, height);
      assert.equal([display.columns, display.rows], [21, height / 8]);
      await show(display, SCREEN);
      assert.ok(chip.isOn);
      assert.is(hex(chip.picture.bytes), hex(drawn(SCREEN, height)));
      assert.ok(state.longest <= MAX_TRANSFER);
    }
});

Panels('a character is its glyph, a large one covers the same shape doubled', () => {
  const bitmap = new Bitmap(128, 64);
  bitmap.draw(['Aä', { big: '8' }], 0);
  for (let row = 0; row < 7; row++)
    for (let column = 0; column < GLYPH_WIDTH; column++) {
      for (const [i, character] of ['A', 'ä'].entries())
        assert.is(bitmap.isSet(6 * i + column, row), ((glyphRow(character, row) >> (4 - column)) & 1) === 1);
      // Smoothing moves edges only: of each doubled pixel at most two quarters differ.
      const own = ((glyphRow('8', row) >> (4 - column)) & 1) === 1;
      let differing = 0;
      for (let i = 0; i < 4; i++) if (bitmap.isSet(2 * column + (i & 1), 8 + 2 * row + (i >> 1)) !== own) differing++;
      assert.ok(differing <= 2, `${differing} quarters differ at ${column},${row}`);
    }
});

Panels('only what changed is sent: one digit is a few bytes, an equal screen none', async () => {
  const { chip, display } = rig();
  await show(display, SCREEN);
  const whole = chip.received;
  await show(display, SCREEN);
  assert.is(chip.received, whole);
  const next = [...SCREEN];
  next[3] = '1979.37 kWh   231.4 V';
  await show(display, next);
  assert.ok(chip.received - whole <= 7 + 5, `${chip.received - whole} bytes`);
  assert.is(hex(chip.picture.bytes), hex(drawn(next)));
});

Panels('random screens, also shown while the last one is still being sent, end in what was shown last', async () => {
  const random = seeded();
  const { chip, display } = rig();
  for (let i = 0; i < 200; i++) {
    const text = () =>
      Array.from({ length: random.below(24) }, () => String.fromCharCode(random.below(0x17f))).join('');
    const screen = Array.from({ length: random.below(10) }, () => (random.below(4) === 0 ? { big: text() } : text()));
    display.show(screen);
    if (random.below(2) === 0) continue;
    await display.settled!();
    display.show(screen);
    await display.settled!();
    assert.is(hex(chip.picture.bytes), hex(drawn(screen)));
  }
});

Panels(
  'a missing panel is reported once, tried again after half a minute, and then holds the whole screen',
  async () => {
    const { chip, display, state } = rig();
    state.absent = true;
    for (; state.now < RETRY_MS; state.now += 1000) await show(display, SCREEN);
    assert.match(display.fault ?? '', /ENXIO/);
    assert.is(state.lines.length, 1);
    assert.match(state.lines[0]!, /no display .*ENXIO/);
    state.absent = false;
    await show(display, SCREEN);
    assert.is(display.fault, undefined);
    assert.is(hex(chip.picture.bytes), hex(drawn(SCREEN)));
    state.absent = true;
    await show(display, ['other']);
    assert.match(display.fault ?? '', /ENXIO/);
    state.absent = false;
    state.now += RETRY_MS;
    await show(display, ['other']);
    assert.is(hex(chip.picture.bytes), hex(drawn(['other'], 64, 1)));
  },
);

Panels('the picture moves by a pixel a minute, so that none burns in', async () => {
  const { chip, display, state } = rig();
  const seen = new Set<string>();
  for (let minute = 0; minute < 6; minute++, state.now += 60_000) {
    await show(display, SCREEN);
    assert.is(hex(chip.picture.bytes), hex(drawn(SCREEN, 64, minute % 3)));
    seen.add(hex(chip.picture.bytes));
  }
  assert.is(seen.size, 3);
});

Panels.run();

const Files = suite('display by files and commands');

const SETTINGS: DisplaySettings = {
  driver: 'auto',
  bus: 1,
  address: 0x3c,
  controller: 'ssd1306',
  height: 64,
};
const quiet = createLog('display', { write: () => {} });

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-oled-'));
  try {
    await test(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function makeFramebuffer(root: string, bits: string): string {
  for (const [name, about] of Object.entries({ fb0: 'simple', fb1: 'Solomon SSD1307' })) {
    mkdirSync(join(root, 'class/graphics', name), { recursive: true });
    writeFileSync(join(root, 'class/graphics', name, 'name'), `${about}\n`);
    writeFileSync(join(root, 'class/graphics', name, 'virtual_size'), '128,64\n');
    writeFileSync(join(root, 'class/graphics', name, 'bits_per_pixel'), `${bits}\n`);
  }
  writeFileSync(join(root, 'fb1'), Buffer.alloc(1024, 0x55));
  return join(root, 'fb1');
}

Files('the framebuffer of the ssd1306 overlay is found and gets rows of one bit a pixel', async () => {
  await inFolder(async (root) => {
    const memory = makeFramebuffer(root, '1');
    const display = openDisplay({ ...SETTINGS, root, devices: root }, quiet);
    assert.is(display.kind, `framebuffer ${root}`);
    const shift = await shownWith(display, SCREEN);
    const bitmap = new Bitmap(128, 64);
    bitmap.draw(SCREEN, shift);
    const bytes = readFileSync(memory);
    assert.is(bytes.length, 1024);
    for (let y = 0; y < 64; y++)
      for (let x = 0; x < 128; x++)
        assert.is((bytes[y * 16 + (x >> 3)]! >> (x & 7)) & 1, bitmap.isSet(x, y) ? 1 : 0, `pixel ${x},${y}`);
    display.close();
  });
});

Files('a framebuffer of another shape, and none at all, are faults with words', async () => {
  await inFolder(async (root) => {
    makeFramebuffer(root, '32');
    const other = openDisplay({ ...SETTINGS, driver: 'framebuffer', root, devices: root }, quiet);
    await show(other, SCREEN);
    assert.match(other.fault ?? '', /fb1 is 128,64 32 bits a pixel, expected 128,64 1/);
    const none = openDisplay({ ...SETTINGS, driver: 'framebuffer', root: join(root, 'x'), devices: root }, quiet);
    await show(none, SCREEN);
    assert.match(none.fault ?? '', /dtoverlay=ssd1306/);
  });
});

Files('i2ctransfer gets transfers that the chip understands', async () => {
  await inFolder(async (folder) => {
    const calls = join(folder, 'calls');
    writeFileSync(join(folder, 'i2ctransfer'), `#!/bin/sh\necho "$@" >> ${calls}\n`);
    chmodSync(join(folder, 'i2ctransfer'), 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path}`;
    try {
      const display = openDisplay({ ...SETTINGS, driver: 'i2ctransfer' }, quiet);
      const shift = await shownWith(display, ['by a command']);
      assert.is(display.fault, undefined);
      const chip = new SimSsd1306('ssd1306', 64);
      for (const line of readFileSync(calls, 'latin1').trim().split('\n')) {
        const [yes, bus, message, ...bytes] = line.split(' ');
        assert.equal([yes, bus, message], ['-y', '1', `w${bytes.length}@60`]);
        chip.write(Uint8Array.from(bytes, Number));
      }
      assert.is(hex(chip.picture.bytes), hex(drawn(['by a command'], 64, shift)));
    } finally {
      process.env.PATH = path;
    }
  });
});

if (needs('i2ctransfer', commandWorks('i2ctransfer', '-V'), 'apt-get install i2c-tools')) {
  Files('the real i2ctransfer takes the command line; where there is no bus its words are the fault', async () => {
    const display = openDisplay({ ...SETTINGS, driver: 'i2ctransfer', bus: 250 }, quiet);
    await show(display, SCREEN);
    assert.match(display.fault ?? '', /i2c-250.*No such file/);
  });
}

Files('without addon, framebuffer and bus the display is a fault and nothing else', async () => {
  await inFolder(async (root) => {
    for (const driver of ['auto', 'i2c', 'framebuffer'] as const) {
      const display = openDisplay({ ...SETTINGS, driver, bus: 250, root, devices: root }, quiet);
      await show(display, SCREEN);
      assert.ok(display.fault, driver);
      display.close();
    }
  });
});

Files('the twin shows text and picture of the same screen; its panel can be missing', async () => {
  await inFolder(async (folder) => {
    const display = openSimDisplay(folder);
    const shift = await shownWith(display, SCREEN);
    assert.match(readFileSync(join(folder, 'display.txt'), 'utf8'), /10\.0\.0\.7\n1234 W\n\n1979/);
    const bitmap = new Bitmap(128, 64);
    bitmap.draw(SCREEN, shift);
    assert.equal(readFileSync(join(folder, 'display.png')), encodePng(bitmap, 4));
    writeFileSync(join(folder, 'absent'), '');
    await show(display, ['gone']);
    assert.match(display.fault ?? '', /nothing answers/);
    assert.ok(existsSync(join(folder, 'display.txt')));
  });
});

Files('the picture is a PNG whose chunks are whole and whose pixels are the bitmap’s', () => {
  const bitmap = new Bitmap(128, 32);
  bitmap.draw(['PNG'], 0);
  const png = encodePng(bitmap, 3);
  assert.is(png.subarray(0, 8).toString('latin1'), '\x89PNG\r\n\x1a\n');
  let pixels = Buffer.alloc(0);
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    assert.is(png.readUInt32BE(at + 8 + length), crc32(png.subarray(at + 4, at + 8 + length)));
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') pixels = inflateSync(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const stride = 1 + 384 / 8;
  assert.is(pixels.length, stride * 96);
  for (let y = 0; y < 96; y++)
    for (let x = 0; x < 384; x++)
      assert.is(
        (pixels[y * stride + 1 + (x >> 3)]! >> (7 - (x & 7))) & 1,
        bitmap.isSet(Math.floor(x / 3), Math.floor(y / 3)) ? 1 : 0,
      );
});

Files.run();
