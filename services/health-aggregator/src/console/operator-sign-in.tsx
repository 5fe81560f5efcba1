import { useSignal } from '@preact/signals';
import { commandResult, operatorToken, setOperatorToken } from './operator-token.ts';

/** Form for the operator token of this tab. */
export const TokenForm = () => {
  const text = useSignal('');
  return (
    <form
      class="form-row"
      onSubmit={(event) => {
        event.preventDefault();
        setOperatorToken(text.value.trim());
        text.value = '';
      }}
    >
      <label>
        <span class="field-label">Operator token (OPS_TOKEN)</span>
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
      <button type="submit">Sign in</button>
    </form>
  );
};

/** Sign-in and sign-out of the operator, who may drain instances. */
export const OperatorBar = () => (
  <div class="operator-bar">
    {operatorToken.value ? (
      <button type="button" class="link" onClick={() => setOperatorToken('')}>
        Sign out
      </button>
    ) : (
      <details>
        <summary>Operator sign-in</summary>
        <TokenForm />
      </details>
    )}
    <p role="status">{commandResult.value}</p>
  </div>
);
