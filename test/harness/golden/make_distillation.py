"""Unrolled iterations and distillation losses in torch, float64, differentiated by its autograd:
    python test/harness/golden/make_distillation.py > test/harness/golden/distillation.json
Inputs come from the generator of make_transport.py, which the tests repeat
(test/harness/transport.ts).
"""

import json

import torch


def uniforms(seed, count):
    values = []
    for _ in range(count):
        seed = (1103515245 * seed + 12345) % 2**31
        values.append(seed / 2**31)
    return torch.tensor(values, dtype=torch.float64)


def numbers(t):
    return [float(f"{v:.15g}") for v in t.detach().reshape(-1).tolist()]


def scaled(k, iterations, last, rows, columns):
    for _ in range(iterations):
        for side in ("columns", "rows") if last == "rows" else ("rows", "columns"):
            if side == "rows":
                k = k * (rows / k.sum(-1)).unsqueeze(-1)
            else:
                k = k * (columns / k.sum(-2)).unsqueeze(-2)
    return k


def knopp_case(batch, n, m, iterations, temperature, input, last, sums, seed):
    u = uniforms(seed, 2 * batch * n * m + n + m)
    x, upstream, rows, columns = u.split([batch * n * m, batch * n * m, n, m])
    x = x if input == "matrix" else (x - 0.5) * 4
    x = x.view(batch, n, m).requires_grad_()
    rows = rows + 0.5 if sums else torch.ones(n, dtype=torch.float64)
    columns = (columns + 0.5) if sums else torch.full((m,), n / m, dtype=torch.float64)
    k = x if input == "matrix" else torch.exp(x / temperature)
    p = scaled(k, iterations, last, rows, columns)
    (p * (upstream.view(p.shape) - 0.5)).sum().backward()
    setting = dict(batch=batch, n=n, m=m, iterations=iterations, temperature=temperature)
    setting |= dict(input=input, last=last, sums=sums, seed=seed)
    return setting | dict(plan=numbers(p), gradient=numbers(x.grad))


def knopp_cases():
    yield knopp_case(11, 4, 4, 20, 1, "logits", "columns", False, 3)
    yield knopp_case(3, 4, 4, 3, 0.5, "logits", "rows", False, 4)
    yield knopp_case(2, 5, 3, 7, 1, "matrix", "columns", True, 5)
    yield knopp_case(2, 3, 6, 4, 0.3, "logits", "rows", True, 6)
    yield knopp_case(1, 20, 17, 5, 0.1, "logits", "columns", False, 7)
    yield knopp_case(1, 18, 19, 6, 1, "matrix", "rows", True, 8)
    yield knopp_case(1, 1, 5, 2, 1, "logits", "columns", False, 9)


def sinkd_case(problems, b, v, temperature, epsilon, iterations, detached, scale, seed):
    size = problems * b * v
    u = (uniforms(seed, 2 * size) - 0.5) * scale
    student, teacher = u.split([size, size])
    student = student.view(problems, b, v).requires_grad_()
    p = torch.softmax(student / temperature, -1)
    q = torch.softmax(teacher.view(student.shape) / temperature, -1)
    w = (p.unsqueeze(-2) - q.unsqueeze(-3)).abs().sum(-1)
    k = torch.exp(-w / epsilon)
    for _ in range(iterations):
        k = k / k.sum(-1, keepdim=True)
        k = k / k.sum(-2, keepdim=True)
    loss = ((k.detach() if detached else k) * w).sum((-1, -2))
    loss.sum().backward()
    setting = dict(problems=problems, b=b, v=v, temperature=temperature)
    setting |= {"lambda": epsilon}
    setting |= dict(iterations=iterations, detached=detached, scale=scale, seed=seed)
    return setting | dict(loss=numbers(loss), gradient=numbers(student.grad))


def sinkd_cases():
    for detached in (False, True):
        yield sinkd_case(1, 4, 6, 2, 0.1, 20, detached, 4, 7)
        yield sinkd_case(2, 5, 9, 1, 0.05, 3, detached, 6, 8)
    yield sinkd_case(1, 3, 515, 1.5, 0.1, 20, False, 8, 9)
    yield sinkd_case(1, 3, 7, 2, 0.003, 20, False, 8, 10)


def uld_case(tokens, student_classes, teacher_classes, temperature, scale, seed):
    sizes = [tokens * student_classes, tokens * teacher_classes]
    student, teacher = ((uniforms(seed, sum(sizes)) - 0.5) * scale).split(sizes)
    student = student.view(tokens, -1).requires_grad_()
    p = torch.softmax(student / temperature, -1).sort(-1, descending=True).values
    q = torch.softmax(teacher.view(tokens, -1) / temperature, -1).sort(-1, descending=True).values
    width = max(student_classes, teacher_classes)
    pad = lambda x: torch.nn.functional.pad(x, (0, width - x.shape[-1]))
    loss = (pad(p) - pad(q)).abs().sum(-1)
    loss.sum().backward()
    setting = dict(tokens=tokens, student=student_classes, teacher=teacher_classes)
    setting |= dict(temperature=temperature, scale=scale, seed=seed)
    return setting | dict(loss=numbers(loss), gradient=numbers(student.grad))


def uld_cases():
    yield uld_case(2, 6, 5, 1, 4, 3)
    yield uld_case(3, 5, 9, 2, 6, 4)
    yield uld_case(2, 700, 700, 1, 8, 5)
    yield uld_case(2, 600, 700, 0.5, 12, 6)
    yield uld_case(2, 1, 3, 1, 4, 7)


def emo_case(tokens, classes, width, plain, combination, clamp, ratio, seed):
    sizes = [tokens * classes, classes * width]
    u = uniforms(seed, sum(sizes))
    z, e = u.split(sizes)
    z = ((z - 0.5) * 4).view(tokens, classes).requires_grad_()
    e = torch.nn.functional.normalize((e - 0.5).view(classes, width), dim=-1)
    target = torch.tensor([(5 * n * n + 3 * n) % classes for n in range(tokens)])
    kept = torch.tensor([n % 4 != 2 for n in range(tokens)]).double()
    q = torch.softmax(z, -1)
    own = torch.nn.functional.one_hot(target, classes).double()
    seen = q if plain else q - (q * own).detach()
    emo = 1 - (seen * (e @ e[target].T).T).sum(-1)
    mle = torch.nn.functional.cross_entropy(z, target, reduction="none")
    low = emo.clamp(min=clamp) if clamp else emo
    bound = lambda r: r.clamp(max=ratio) if ratio else r
    if combination == "emo1":
        row = 0.5 * (bound(mle / (low + 1e-10)).detach() * low + mle)
    elif combination == "emo2":
        row = bound(low / (mle + 1e-10)).detach() * mle + low
    else:
        row = low
    loss = (row * kept).sum() / (1e-15 + kept.sum())
    loss.backward()
    setting = dict(tokens=tokens, classes=classes, width=width, plain=plain)
    setting |= dict(combination=combination, clamp=clamp, ratio=ratio, seed=seed)
    setting |= dict(target=target.tolist())
    return setting | dict(loss=numbers(loss), rows=numbers(row), gradient=numbers(z.grad))


def emo_cases():
    for plain in (False, True):
        for combination in ("emo", "emo1", "emo2"):
            yield emo_case(4, 6, 3, plain, combination, 0, 0, 11)
            yield emo_case(7, 37, 5, plain, combination, 0.9, 1.2, 12)


cases = dict(
    sinkhornKnopp=list(knopp_cases()),
    sinkd=list(sinkd_cases()),
    uld=list(uld_cases()),
    emo=list(emo_cases()),
)
print(json.dumps(dict(torch=torch.__version__) | cases))
