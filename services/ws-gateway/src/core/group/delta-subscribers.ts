import type { BusMessage } from '@muster/bus/envelope';
import { BINARY_MARK, DELTA_MARK, payloadDelta } from '@muster/protocol/delta';
import { convertPush } from '@muster/protocol/protobuf-codec';
import { binaryFrame } from '../connection/frame.ts';
import { compacted, type Form, jsonFrame, type Named } from './group-frames.ts';
import type { Subscription } from './subscription.ts';

/** Word among the notes of a publication: subscribers with deltas get it as one. */
export const DELTA_NOTE = 'delta';

type DeltaForm = Exclude<Form, 'plain'>;
const DELTA_FORMS: readonly DeltaForm[] = ['json', 'json-id', 'protobuf', 'protobuf-id'];

/** Members of one form. Those who got the last publication can be given a delta, the others need a whole one first. */
interface Lists {
  readonly based: Subscription[];
  readonly fresh: Subscription[];
}

/** One publication on its way to members with deltas. What is made of it is made once for all of them. */
class Step {
  readonly message: BusMessage;
  /** The delta as text; undefined when it goes out whole. */
  readonly delta: string | undefined;
  #whole: Buffer | undefined;
  #changed: Buffer | undefined;

  constructor(message: BusMessage, delta: string | undefined) {
    this.message = message;
    this.delta = delta;
  }

  /** The push with the JSON text of the payload as a string. */
  get whole(): Buffer {
    this.#whole ??= withData(this.message, JSON.stringify(payloadOf(this.message).toString()));
    return this.#whole;
  }

  /** The push with a delta for its payload. */
  get changed(): Buffer {
    this.#changed ??= withData(this.message, `${JSON.stringify(this.delta)}${DELTA_MARK}`);
    return this.#changed;
  }
}

/**
 * The members of a group that asked for deltas. A delta is made against the publication before, so whoever was left out
 * of that one, or came later, gets the next one whole. Every delta is made once, however many members there are.
 */
export class DeltaSubscribers {
  readonly #group: Named;
  readonly #lists: Readonly<Record<DeltaForm, Lists>> = {
    json: { based: [], fresh: [] },
    'json-id': { based: [], fresh: [] },
    protobuf: { based: [], fresh: [] },
    'protobuf-id': { based: [], fresh: [] },
  };
  /** Payload of the publication that all based members got last; undefined when none can be made against it. */
  #base: Buffer | undefined;
  /** As the options of the group had it when the last member came. */
  #isAlways = false;

  constructor(group: Named) {
    this.#group = group;
  }

  get size(): number {
    return DELTA_FORMS.reduce((sum, form) => sum + this.membersOf(form).length, 0);
  }

  /** From now on delivers to this subscription, a whole publication first. */
  add(subscription: Subscription): void {
    this.#isAlways = subscription.deltas === 'all';
    subscription.enter(this.#listsOf(subscription).fresh);
  }

  membersOf(form: Form): Subscription[] {
    if (form === 'plain') return [];
    const { based, fresh } = this.#lists[form];
    return [...based, ...fresh];
  }

  /** Hands out the frames for publications in their order; `some` says who of the members gets them. */
  write(
    messages: readonly BusMessage[],
    some: (members: readonly Subscription[]) => readonly Subscription[],
    start: (frame: Buffer, members: readonly Subscription[]) => void,
  ): void {
    const steps = this.#stepsOf(messages);
    for (const form of DELTA_FORMS) {
      const { based, fresh } = this.#lists[form];
      if (based.length + fresh.length === 0) continue;
      const ready = some(based).slice();
      const others = some(fresh).slice();
      const left = ready.length === based.length ? [] : based.filter((one) => !ready.includes(one));
      if (ready.length > 0) start(this.#frame(form, steps, true), ready);
      if (others.length > 0) start(this.#frame(form, steps, false), others);
      for (const one of left) this.#move(one, fresh);
      for (const one of others) this.#move(one, based);
    }
  }

  /** From one list to the other; not who was closed or skipped for its slowness meanwhile. */
  #move(subscription: Subscription, list: Subscription[]): void {
    if (!subscription.isLive) return;
    subscription.exit();
    subscription.enter(list);
  }

  /** Publications for one member alone, none of them as a delta; undefined for a form without deltas. */
  wholeFrame(form: Form, messages: readonly BusMessage[]): Buffer | undefined {
    if (form === 'plain') return undefined;
    return this.#frame(
      form,
      messages.map((message) => new Step(message, undefined)),
      false,
    );
  }

  #listsOf({ form }: Subscription): Lists {
    return this.#lists[form === 'plain' ? 'json' : form];
  }

  #stepsOf(messages: readonly BusMessage[]): Step[] {
    return messages.map((message) => {
      const data = payloadOf(message);
      const isBinary = restOf(message).subarray(0, BINARY_MARK.length).equals(BINARY);
      const isWanted = this.#isAlways || message.notes.includes(DELTA_NOTE);
      const delta = isWanted && !isBinary ? payloadDelta(this.#base, data) : undefined;
      this.#base = isBinary ? undefined : Buffer.from(data);
      return new Step(message, delta);
    });
  }

  /** All steps in one frame; the first one whole for members that have no base. */
  #frame(form: DeltaForm, steps: readonly Step[], isBased: boolean): Buffer {
    const isDelta = ({ delta }: Step, index: number): boolean =>
      delta !== undefined && (isBased || index > 0);
    if (form === 'json' || form === 'json-id') {
      const bodies = steps.map((step, index) => (isDelta(step, index) ? step.changed : step.whole));
      return jsonFrame(form === 'json' ? bodies : bodies.map((body) => compacted(body, this.#group)));
    }
    const id = form === 'protobuf' ? 0 : this.#group.id;
    const bodies = steps.map((step, index) => (isDelta(step, index) ? step.changed : step.message.body));
    return binaryFrame(Buffer.concat(bodies.map((body) => convertPush(body.toString(), id))));
  }
}

const BINARY = Buffer.from(BINARY_MARK);

const payloadOf = ({ body, dataAt, dataLength }: BusMessage): Buffer =>
  body.subarray(dataAt, dataAt + dataLength);

const restOf = ({ body, dataAt, dataLength }: BusMessage): Buffer => body.subarray(dataAt + dataLength);

const withData = (message: BusMessage, data: string): Buffer =>
  Buffer.concat([message.body.subarray(0, message.dataAt), Buffer.from(data), restOf(message)]);
