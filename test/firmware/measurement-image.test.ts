/** The measurement image: values, their age and quality, and sets that belong together. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { QUANTITY_NAMES } from '#modbus/register-map';
import {
  FRESH_LIMIT_MS,
  MeasurementImage,
  QUANTITY_COUNT,
  Quality,
  Quantity,
} from '../../firmware/measurement-image.ts';

const Image = suite('measurement image');
const ALL = Object.values(Quantity);

Image('has a place for every quantity of the register maps', () => {
  assert.equal(Object.keys(Quantity), [...QUANTITY_NAMES]);
  assert.equal(ALL, [...Array(QUANTITY_COUNT).keys()]);
});

Image('has no value before the first measurement', () => {
  const image = new MeasurementImage();
  for (const quantity of ALL) {
    assert.is(image.quality(quantity, 0), Quality.missing);
    assert.not(image.isFresh(quantity, 0));
    assert.is(image.updatedAt(quantity), 0);
  }
});

Image('keeps each quantity apart, with sign and beyond 32 bits', () => {
  const image = new MeasurementImage();
  image.beginUpdate();
  for (const quantity of ALL)
    image.set(quantity, (quantity % 2 ? -1 : 1) * (5_000_000_000 + quantity), 40, Quality.good);
  image.endUpdate();
  for (const quantity of ALL) {
    assert.is(image.value(quantity), (quantity % 2 ? -1 : 1) * (5_000_000_000 + quantity));
    assert.is(image.quality(quantity, 40), Quality.good);
  }
});

Image('a value is fresh for ten seconds to the millisecond', () => {
  const image = new MeasurementImage();
  image.set(Quantity.voltage, 23_142, 1000, Quality.good);
  assert.ok(image.isFresh(Quantity.voltage, 1000 + FRESH_LIMIT_MS));
  assert.not(image.isFresh(Quantity.voltage, 1001 + FRESH_LIMIT_MS));
  assert.is(image.quality(Quantity.voltage, 1001 + FRESH_LIMIT_MS), Quality.missing);
  assert.not(image.isFresh(Quantity.voltage, 1101, 100));
  assert.is(image.value(Quantity.voltage), 23_142);
});

Image('doubt leaves value and age, and only touches good values', () => {
  const image = new MeasurementImage();
  image.set(Quantity.current, 1473, 500, Quality.good);
  image.doubt(Quantity.current);
  image.doubt(Quantity.voltage);
  assert.is(image.quality(Quantity.current, 600), Quality.suspect);
  assert.is(image.quality(Quantity.voltage, 600), Quality.missing);
  assert.is(image.value(Quantity.current), 1473);
  assert.is(image.updatedAt(Quantity.current), 500);
  image.set(Quantity.current, 1474, 700, Quality.good);
  assert.is(image.quality(Quantity.current, 700), Quality.good);
});

Image('the sequence number is odd while a set is written and grows with each', () => {
  const image = new MeasurementImage();
  const before = image.sequenceNumber;
  assert.is(before % 2, 0);
  image.beginUpdate();
  assert.is(image.sequenceNumber % 2, 1);
  image.endUpdate();
  assert.is(image.sequenceNumber, before + 2);
});

Image('a second image over the same buffer sees the same values', () => {
  const writer = new MeasurementImage();
  const reader = new MeasurementImage(writer.buffer);
  writer.beginUpdate();
  writer.set(Quantity.activePower, -327, 10, Quality.good);
  writer.endUpdate();
  assert.is(reader.value(Quantity.activePower), -327);
  assert.is(reader.quality(Quantity.activePower, 10), Quality.good);
  assert.is(reader.sequenceNumber, 2);
});

Image.run();
