export const BUILD_REPORT = 'report.build';

export interface ReportRequest {
  title: string;
  /** Each is a number as text, as a file would have it. */
  rows: string[];
}

/** One value of the stream. */
export interface Progress {
  percent: number;
  /** Only in the last one. */
  report?: string;
}
