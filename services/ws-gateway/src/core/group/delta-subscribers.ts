import type { BusMessage } from '@muster/bus/envelope';
import { BINARY_MARK, DELTA_MARK, payloadDelta } from '@muster/protocol/payload-delta';
import { convertPush } from '@muster/protocol/protobuf-codec';
import { binaryFrame } from '../connection/websocket-frame.ts';
import { compacted, type Form, jsonFrame } from './group-frames.ts';
import type { GroupIdentity } from './group-identity.ts';
import type { Subscription } from './subscription.ts';

/** Note of a publication that is delivered as a delta to subscribers with deltas. */
export const DELTA_ATTRIBUTE = 'delta';

type DeltaForm = Exclude<Form, 'plain'>;
const DELTA_FORMS: readonly DeltaForm[] = ['json', 'json-id', 'protobuf', 'protobuf-id'];

/** Members of one form: `based` received the previous publication and can apply a delta; `fresh` need a whole one first. */
interface Lists {
  readonly based: Subscription[];
  readonly fresh: Subscription[];
}

/** One publication and its encodings, each made once for all members. */
class Encoded {
  readonly message: BusMessage;
  /** The delta as text; undefined: delivered whole. */
  readonly delta: string | undefined;
  #whole: Buffer | undefined;
  #asDelta: Buffer | undefined;

  constructor(message: BusMessage, delta: string | undefined) {
    this.message = message;
    this.delta = delta;
  }

  /** The push with the payload's JSON text as a string. */
  get whole(): Buffer {
    this.#whole ??= withData(this.message, JSON.stringify(payloadOf(this.message).toString()));
    return this.#whole;
  }

  /** The push with a delta in place of its payload. */
  get asDelta(): Buffer {
    this.#asDelta ??= withData(this.message, `${JSON.stringify(this.delta)}${DELTA_MARK}`);
    return this.#asDelta;
  }
}

/**
 * The members of a group with deltas. A delta is made against the previous publication: a member that did not receive
 * it receives the next publication whole. Each delta is made once for all members.
 */
export class DeltaSubscribers {
  readonly #group: GroupIdentity;
  readonly #lists: Readonly<Record<DeltaForm, Lists>> = {
    json: { based: [], fresh: [] },
    'json-id': { based: [], fresh: [] },
    protobuf: { based: [], fresh: [] },
    'protobuf-id': { based: [], fresh: [] },
  };
  /** Payload of the last publication of all based members; undefined when no delta can be made against it. */
  #base: Buffer | undefined;
  /**
   * Deltas of all publications, not only of marked publications; as the group's options were when the last member
   * joined.
   */
  #isAlways = false;

  constructor(group: GroupIdentity) {
    this.#group = group;
  }

  get size(): number {
    return DELTA_FORMS.reduce((sum, form) => sum + this.membersOf(form).length, 0);
  }

  /** Starts delivery to a subscription, with a whole publication first. */
  add(subscription: Subscription): void {
    this.#isAlways = subscription.deltas === 'all';
    const { form } = subscription;
    subscription.enter(this.#lists[form === 'plain' ? 'json' : form].fresh);
  }

  membersOf(form: Form): Subscription[] {
    if (form === 'plain') return [];
    const { based, fresh } = this.#lists[form];
    return [...based, ...fresh];
  }

  /** Passes the frames of publications, in order, to `start`; `select` picks their recipients. */
  write(
    messages: readonly BusMessage[],
    select: (members: readonly Subscription[]) => readonly Subscription[],
    start: (frame: Buffer, members: readonly Subscription[]) => void,
  ): void {
    const publications = this.#encodingsOf(messages);
    for (const form of DELTA_FORMS) {
      const { based, fresh } = this.#lists[form];
      if (based.length + fresh.length === 0) continue;
      const ready = select(based).slice();
      const others = select(fresh).slice();
      const left = ready.length === based.length ? [] : based.filter((one) => !ready.includes(one));
      if (ready.length > 0) start(this.#frame(form, publications, true), ready);
      if (others.length > 0) start(this.#frame(form, publications, false), others);
      for (const one of left) this.#move(one, fresh);
      for (const one of others) this.#move(one, based);
    }
  }

  /** Moves a member to the other list, unless it was closed or has started to lag meanwhile. */
  #move(subscription: Subscription, list: Subscription[]): void {
    if (!subscription.isLive) return;
    subscription.exit();
    subscription.enter(list);
  }

  /** One frame without deltas for a single member; undefined for a form without deltas. */
  wholeFrame(form: Form, messages: readonly BusMessage[]): Buffer | undefined {
    if (form === 'plain') return undefined;
    return this.#frame(
      form,
      messages.map((message) => new Encoded(message, undefined)),
      false,
    );
  }

  #encodingsOf(messages: readonly BusMessage[]): Encoded[] {
    return messages.map((message) => {
      const data = payloadOf(message);
      const isBinary = restOf(message).subarray(0, BINARY_MARK.length).equals(BINARY);
      const isWanted = this.#isAlways || message.attributes.includes(DELTA_ATTRIBUTE);
      const delta = isWanted && !isBinary ? payloadDelta(this.#base, data) : undefined;
      this.#base = isBinary ? undefined : Buffer.from(data);
      return new Encoded(message, delta);
    });
  }

  /** One frame of publications; the first publication is whole for fresh members. */
  #frame(form: DeltaForm, publications: readonly Encoded[], isBased: boolean): Buffer {
    const isDelta = ({ delta }: Encoded, index: number): boolean => delta !== undefined && (isBased || index > 0);
    if (form === 'json' || form === 'json-id') {
      const bodies = publications.map((one, index) => (isDelta(one, index) ? one.asDelta : one.whole));
      return jsonFrame(form === 'json' ? bodies : bodies.map((body) => compacted(body, this.#group)));
    }
    const id = form === 'protobuf' ? 0 : this.#group.id;
    const bodies = publications.map((one, index) => (isDelta(one, index) ? one.asDelta : one.message.body));
    return binaryFrame(Buffer.concat(bodies.map((body) => convertPush(body.toString(), id))));
  }
}

const BINARY = Buffer.from(BINARY_MARK);

const payloadOf = ({ body, dataAt, dataLength }: BusMessage): Buffer => body.subarray(dataAt, dataAt + dataLength);

const restOf = ({ body, dataAt, dataLength }: BusMessage): Buffer => body.subarray(dataAt + dataLength);

const withData = (message: BusMessage, data: string): Buffer =>
  Buffer.concat([message.body.subarray(0, message.dataAt), Buffer.from(data), restOf(message)]);
