import { commandResult, operatorToken, setOperatorToken } from '../operator-token.ts';
import { TokenForm } from '../token-form.tsx';

/** For operators: shows or takes the token that lets them drain instances. Folded away for everybody else. */
export const OperatorBar = () => (
  <div class="operator">
    {operatorToken.value ? (
      <button type="button" class="link" onClick={() => setOperatorToken('')}>
        Stop being an operator
      </button>
    ) : (
      <details>
        <summary>Operators</summary>
        <TokenForm />
      </details>
    )}
    <p role="status">{commandResult.value}</p>
  </div>
);
