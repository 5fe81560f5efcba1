import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';

const MAX_REASON = 200;

/** Properties of {@link ConfirmButton}. */
export interface ConfirmButtonProps {
  /** Label of the button. */
  readonly action: string;
  /** Object of the action; part of the button's accessible name. */
  readonly subject: string;
  /** Effect of the action, one sentence. */
  readonly consequence: string;
  readonly class?: string | undefined;
  readonly onConfirm: (reason: string) => void;
}

/** Button with a confirmation dialog that requires a reason. Escape cancels. */
export const ConfirmButton = ({ action, subject, consequence, onConfirm, ...props }: ConfirmButtonProps) => {
  const dialog = useRef<HTMLDialogElement>(null);
  const reason = useSignal('');
  const close = (): void => dialog.current?.close();
  return (
    <>
      <button type="button" class={props.class} onClick={() => dialog.current?.showModal()}>
        {action}
        <span class="visually-hidden"> {subject}</span>
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
          <p class="muted">{consequence}</p>
          <label>
            <span class="field-label">Reason (written to the log)</span>
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
          <p class="confirm-actions">
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
