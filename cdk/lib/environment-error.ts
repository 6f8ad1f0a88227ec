import { Token } from 'aws-cdk-lib';

/** Invalid settings: one line for each, with its path, the expected value and the value found. */
export class EnvironmentError extends Error {
  public override readonly name = 'EnvironmentError';

  /**
   * @param path the path of the construct with the properties
   * @param problem the properties, the expected value and the value found
   */
  static ofProperties(path: string, problem: string): EnvironmentError {
    return new EnvironmentError(`${titleOf(path)}:\n  ${problem}`);
  }
}

/** The first line of an error about the properties of the construct with a path. */
export const titleOf = (path: string) => `The properties of ${path} are invalid`;

/** A value as an error message shows it. */
export function show(value: unknown): string {
  // A number or a list can be a token, too.
  if (Token.isUnresolved(value)) return 'a value that is known only at deployment';
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  // A token is a text, or a part of one, that stands for the value.
  return /[$#]\{Token\[/.test(text) ? 'a value that is known only at deployment' : text;
}
