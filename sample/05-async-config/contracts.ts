export const DIGEST = 'digest';

export interface Document {
  name: string;
  content: Buffer;
  modified: Date;
}

export interface Digest {
  name: string;
  sha256: Buffer;
  /** The year in which the document was modified. */
  year: number;
  at: Date;
}
