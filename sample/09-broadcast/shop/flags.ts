import { Injectable } from '@nestjs/common';
import { ReplaySubject, type Observable } from 'rxjs';

/** Which features are on, as one instance knows it. */
@Injectable()
export class Flags {
  private readonly flags = new Map<string, boolean>();
  private readonly changed = new ReplaySubject<void>();

  /** Each change, those before included. */
  get changes(): Observable<void> {
    return this.changed;
  }

  set(feature: string, on: boolean): void {
    this.flags.set(feature, on);
    this.changed.next();
  }

  describe(): string {
    const all = [...this.flags].sort(([one], [other]) => one.localeCompare(other));
    return all.map(([feature, on]) => `${feature} ${on ? 'on' : 'off'}`).join(', ');
  }
}
