/** Answered page by page. */
export const BUILD_REPORT = 'report.build';
/** Answered once, with the sum of all rows. */
export const SUM_REPORT = 'report.sum';

export interface ReportRequest {
  title: string;
  /** How many pages, or rows, it has. */
  length: number;
}

export interface Page {
  number: number;
  text: string;
}
