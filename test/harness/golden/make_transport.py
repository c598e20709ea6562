"""Answers of GeomLoss and POT in float64 for test/ops/sinkhorn-geomloss.test.ts:
    python test/harness/golden/make_transport.py > test/harness/golden/transport.json
Inputs come from transport_clouds.py, which the tests repeat (test/harness/transport.ts).
"""

import json

import geomloss
import ot
from transport_clouds import clouds


def geomloss_case(p, blur, scaling, reach, debias, batch, n, m, d, seed):
    x, y, a, b = (t.requires_grad_() for t in clouds(batch, n, m, d, seed))
    loss = geomloss.SamplesLoss(
        "sinkhorn", p=p, blur=blur, scaling=scaling, reach=reach, debias=debias, backend="tensorized"
    )
    value = loss(a, x, b, y)
    value.sum().backward()
    round_all = lambda t: [float(f"{v:.14g}") for v in t.reshape(-1).tolist()]
    setting = dict(p=p, blur=blur, scaling=scaling, reach=reach, debias=debias)
    shape = dict(batch=batch, n=n, m=m, d=d, seed=seed)
    answers = dict(value=round_all(value), x=round_all(x.grad), a=round_all(a.grad))
    return setting | shape | answers


def geomloss_cases():
    for p, blur in ((2, 0.1), (1, 0.05)):
        for reach in (None, 0.7):
            for debias in (True, False):
                yield geomloss_case(p, blur, 0.5, reach, debias, 1, 11, 9, 3, 5)
    for scaling in (0.7, 0.9):
        yield geomloss_case(2, 0.05, scaling, None, True, 1, 13, 8, 2, 6)
    yield geomloss_case(2, 0.1, 0.5, None, True, 3, 6, 5, 2, 7)


def pot_case(epsilon, rho, n, m, d, seed):
    x, y, a, b = (t[0] for t in clouds(1, n, m, d, seed))
    cost = ((x[:, None] - y[None]) ** 2).sum(-1) / 2
    more = {} if rho is None else dict(unbalanced=rho, unbalanced_type="KL")
    answer = ot.solve(
        cost.numpy(), a.numpy(), b.numpy(), reg=epsilon, reg_type="KL", max_iter=100000, tol=1e-14, **more
    )
    shape = dict(epsilon=epsilon, rho=rho, n=n, m=m, d=d, seed=seed)
    return shape | dict(value=float(answer.value), linear=float(answer.value_linear))


def pot_cases():
    for epsilon, rho in ((0.1, None), (0.02, None), (0.1, 1.0), (0.05, 0.2)):
        yield pot_case(epsilon, rho, 9, 7, 3, 8)


if __name__ == "__main__":
    answers = dict(
        versions=dict(geomloss=geomloss.__version__, pot=ot.__version__),
        geomloss=list(geomloss_cases()),
        pot=list(pot_cases()),
    )
    print(json.dumps(answers, indent=1))
