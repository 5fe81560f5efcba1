import { useSignal } from '@preact/signals';
import { operatorToken, orderResult, setOperator } from '../operator.ts';

/** For operators: shows or takes the token that lets them drain instances. Folded away for everybody else. */
export const OperatorBar = () => {
  const text = useSignal('');
  return (
    <div class="operator">
      {operatorToken.value ? (
        <button type="button" class="link" onClick={() => setOperator('')}>
          Stop being an operator
        </button>
      ) : (
        <details>
          <summary>Operators</summary>
          <form
            class="bar"
            onSubmit={(event) => {
              event.preventDefault();
              setOperator(text.value.trim());
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
        </details>
      )}
      <p role="status">{orderResult.value}</p>
    </div>
  );
};
