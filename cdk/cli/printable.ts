/**
 * Characters that a terminal would obey, that change the direction of text, or that nobody sees. With the last ones, two
 * different names would look the same.
 */
const UNPRINTABLE = /(?!\n)\p{Cc}|[\p{Cf}\p{Default_Ignorable_Code_Point}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Text of AWS or of people without these characters. */
export const printable = (text: string) => text.replace(UNPRINTABLE, '\ufffd');
