/**
 * A 5×7 pixel font for the meter's display and the head end's preview of it: printable ASCII and some Latin letters,
 * seven rows a glyph from top to bottom, one base-32 digit a row (0-9, A-V), the leftmost pixel is the digit's highest bit.
 */

const GLYPHS =
  '0000000' + // space
  '4444404AAA0000AAVAVAA4FKE5U4OP248J3CIK8LID4480000' + // ! " # $ % & '
  '248884284222480' +
  '4LEL40044V4400000C48000E00000000CC01248G0' + // ( ) * + , - . /
  'EHJLPHE4C4444EEH1248VV2421HE26AIV22VGU11HE68GUHHEV124888EHHEHHEEHHF12C' + // 0-9
  '0CC0CC00CC0C48248G84200V0V008421248EH12404EH1DLLE' + // : ; < = > ? @
  'EHHVHHHUHHUHHUEHGGGHESIHHHISVGGUGGVVGGUGGGEHGNHHFHHHVHHHE44444E' + // A-I
  '72222ICHIKOKIHGGGGGGVHRLLHHHHHPLJHHEHHHHHEUHHUGGGEHHHLIDUHHUKIH' + // J-R
  'FGGE11UV444444HHHHHHEHHHHHA4HHHLLLAHHA4AHHHHHA444V1248GV' + // S-Z
  'E88888E0G84210E22222E4AH0000000000V8420000' + // [ \ ] ^ _ `
  '00E1FHFGGMPHHU00EGGHE11DJHHF00EHVGE698S8880FHHF1EGGMPHHH40C444E' + // a-i
  '20622ICGGIKOKIC44444E00QLLHH00MPHHH00EHHHE00UHUGG00DJF1100MPGGG' + // j-r
  '00EGE1U88S889600HHHJD00HHHA400HHLLA00HA4AH00HHF1E00V248V' + // s-z
  '244844244444448442448008L200' + // { | } ~
  'HEHHVHHHEHHHHEH0HHHHEA0E1FHFA0EHHHEA0HHHJDCIIKIIK24EHVGE84EHVGE84E1FHF0EGGHE4D0MPHHHCIIC00078U8U87'; // LATIN
const LATIN = 'ÄÖÜäöüßéèàçñ°€';

/** What a character outside the font looks like: an empty box. */
const UNKNOWN = 'VHHHHHV';

export const GLYPH_WIDTH = 5;
export const GLYPH_HEIGHT = 7;

/** Five bits of a row of a character's glyph, the leftmost pixel in bit 4. */
export function glyphRow(character: string, row: number): number {
  const code = character.charCodeAt(0);
  const extra = LATIN.indexOf(character);
  const index = code >= 0x20 && code < 0x7f ? code - 0x20 : extra < 0 ? -1 : 0x5f + extra;
  return Number.parseInt(index < 0 ? UNKNOWN[row]! : GLYPHS[index * GLYPH_HEIGHT + row]!, 32);
}
