import { useSignal } from '@preact/signals';
import { setOperatorToken } from './operator-token.ts';

/** Takes the operator token of this tab. */
export const TokenForm = () => {
  const text = useSignal('');
  return (
    <form
      class="bar"
      onSubmit={(event) => {
        event.preventDefault();
        setOperatorToken(text.value.trim());
        text.value = '';
      }}
    >
      <label>
        <span class="label">Operator token (OPS_TOKEN)</span>
        <input
          type="password"
          autocomplete="off"
          required
          minLength={16}
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
          }}
        />
      </label>
      <button type="submit">Use it in this tab</button>
    </form>
  );
};
