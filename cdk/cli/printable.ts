/** Control characters and those that change the direction of text. A terminal would obey them. */
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of AWS or of people without these characters. */
export const printable = (text: string) => text.replace(CONTROLS, '\ufffd');
