// A small U-Net from general operations: three scales, group norms, logits of one channel.
import * as sp from 'surprisal';

type Weight = sp.Tensor<'float32'>;

const groups = 4;

export class UNet {
  readonly weights: Record<string, Weight> = {};

  constructor(width: number) {
    const sizes = [width, 2 * width, 4 * width];
    this.block('down0', 1, sizes[0]);
    this.block('down1', sizes[0], sizes[1]);
    this.block('bottom', sizes[1], sizes[2]);
    this.add('up1', [sizes[2], sizes[1], 2, 2], 4 * sizes[2]);
    this.block('join1', 2 * sizes[1], sizes[1]);
    this.add('up0', [sizes[1], sizes[0], 2, 2], 4 * sizes[1]);
    this.block('join0', 2 * sizes[0], sizes[0]);
    this.add('last', [1, sizes[0], 1, 1], sizes[0]);
    this.weights.lastBias = sp.zeros([1], { requiresGrad: true });
  }

  get parameters(): Weight[] {
    return Object.values(this.weights);
  }

  /** Another of the same weights. */
  copy(): UNet {
    const other = Object.create(UNet.prototype) as UNet;
    const entries = Object.entries(this.weights).map(
      ([name, weight]) => [name, weight.detach().clone().requiresGrad_()] as const,
    );
    return Object.assign(other, { weights: Object.fromEntries(entries) });
  }

  /** Logits [B, 1, H, W] of images alike; sizes are multiples of 4. */
  logits(image: sp.Tensor<'float32'>): sp.Tensor<'float32'> {
    const a = this.convolved('down0', image);
    const b = this.convolved('down1', a.maxPool2d(2));
    const c = this.convolved('bottom', b.maxPool2d(2));
    const d = this.convolved('join1', this.joined('up1', c, b));
    const e = this.convolved('join0', this.joined('up0', d, a));
    const { last, lastBias } = this.weights;
    return e.conv2d(last, { bias: lastBias }) as sp.Tensor<'float32'>;
  }

  private add(name: string, shape: number[], fan: number): void {
    const scaled = sp.randn(shape).mul(Math.sqrt(2 / fan));
    this.weights[name] = scaled.detach().requiresGrad_() as Weight;
  }

  private block(name: string, from: number, to: number): void {
    this.add(name, [to, from, 3, 3], 9 * from);
    this.weights[`${name}Gain`] = sp.ones([to], { requiresGrad: true });
    this.weights[`${name}Bias`] = sp.zeros([to], { requiresGrad: true });
  }

  private convolved(name: string, x: sp.Tensor<'float32'>): sp.Tensor<'float32'> {
    const { [name]: filter, [`${name}Gain`]: weight, [`${name}Bias`]: bias } = this.weights;
    return x
      .conv2d(filter, { padding: 1 })
      .groupNorm(groups, { weight, bias })
      .relu() as sp.Tensor<'float32'>;
  }

  private joined(name: string, below: sp.Tensor<'float32'>, across: sp.Tensor<'float32'>) {
    const up = below.convTranspose2d(this.weights[name], { stride: 2 });
    return sp.concat([up, across], { dim: 1 }) as sp.Tensor<'float32'>;
  }
}
