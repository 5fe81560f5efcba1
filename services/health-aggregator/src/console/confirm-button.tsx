import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';

const MAX_REASON = 200;

/** What a click asks for before it does something. */
export interface ConfirmButtonProps {
  /** The word on the button. */
  readonly action: string;
  /** What it is done to; part of the button's name for screen readers. */
  readonly subject: string;
  /** What follows, in a sentence. */
  readonly consequence: string;
  readonly class?: string | undefined;
  readonly onConfirm: (reason: string) => void;
}

/** A button that asks for a reason, and does nothing until it is confirmed. Escape cancels. */
export const ConfirmButton = ({ action, subject, consequence, onConfirm, ...props }: ConfirmButtonProps) => {
  const dialog = useRef<HTMLDialogElement>(null);
  const reason = useSignal('');
  const close = (): void => dialog.current?.close();
  return (
    <>
      <button type="button" class={props.class} onClick={() => dialog.current?.showModal()}>
        {action}
        <span class="unseen"> {subject}</span>
      </button>
      <dialog class="confirm" ref={dialog} aria-label={`${action}: ${subject}`}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            close();
            onConfirm(reason.value.trim());
            reason.value = '';
          }}
        >
          <p>
            <strong>
              {action} {subject}?
            </strong>
          </p>
          <p class="quiet">{consequence}</p>
          <label>
            <span class="label">Reason, for the log</span>
            <input
              name="reason"
              autocomplete="off"
              required
              maxLength={MAX_REASON}
              value={reason.value}
              onInput={(event) => {
                reason.value = event.currentTarget.value;
              }}
            />
          </label>
          <p class="confirm-choice">
            <button type="button" onClick={close}>
              Cancel
            </button>
            <button type="submit" class="primary">
              {action} now
            </button>
          </p>
        </form>
      </dialog>
    </>
  );
};
