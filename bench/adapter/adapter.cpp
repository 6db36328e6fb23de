// SPDX-License-Identifier: MIT
// What an adapter costs beside its base and beside LoRA of equal parameters done with Eigen, on one thread where nothing
// else is said: a single token from weights that are not in cache, forward and backward passes, dense forms, two
// threads, and a training step against one that builds the dense delta.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <Eigen/Dense>

#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/transform/wht.hpp>

#include "measure.hpp"

namespace {

using base_format = qwha::affine<4, 64>;
using base_matrix = qwha::quantized_matrix<base_format>;
template <class T>
using adapter = qwha::sparse_spectral_adapter<T, base_format>;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class M>
using mapped = Eigen::Map<M, 0, Eigen::OuterStride<>>;

const qwha::executor serial = qwha::executor::serial();

mapped<const matrix> map(qwha::rows_view<const float> v) {
  return {v.data, static_cast<Eigen::Index>(v.rows), static_cast<Eigen::Index>(v.cols),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(v.stride))};
}
mapped<matrix> map(qwha::rows_view<float> v) {
  return {v.data, static_cast<Eigen::Index>(v.rows), static_cast<Eigen::Index>(v.cols),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(v.stride))};
}
qwha::rows_view<const float> view(const matrix& m) {
  return {m.data(), static_cast<std::size_t>(m.rows()), static_cast<std::size_t>(m.cols())};
}
qwha::rows_view<float> view(matrix& m) {
  return {m.data(), static_cast<std::size_t>(m.rows()), static_cast<std::size_t>(m.cols())};
}

/// The dense product of every contestant.
struct eigen_product {
  void operator()(qwha::rows_view<const float> w, qwha::rows_view<const float> x, qwha::rows_view<float> y) const {
    map(y).noalias() = map(x) * map(w).transpose();
  }
  void add(qwha::rows_view<const float> w, qwha::rows_view<const float> dy, qwha::rows_view<float> dx) const {
    map(dx).noalias() += map(dy) * map(w);
  }
};

matrix random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  matrix m(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(cols));
  const qwha::counter_random random(seed);
  for (std::size_t i = 0; i < rows * cols; ++i) m.data()[i] = static_cast<float>(random.uniform(i) - 0.5);
  return m;
}

base_matrix random_base(std::size_t out, std::size_t in, std::uint64_t seed) {
  base_matrix m(out, in);
  const qwha::counter_random random(seed);
  const qwha::half scale(0.01f);
  for (std::size_t r = 0; r < out; ++r) {
    for (std::size_t i = 0; i < m.code_stride(); ++i)
      m.writable_codes(r)[i] = static_cast<std::byte>(random.bits((r * m.code_stride() + i) % 65521) & 255);
    for (std::size_t g = 0; g < m.blocks_per_row(); ++g) {
      std::byte* p = m.writable_parameters(r) + g * base_format::parameter_bytes;
      std::memcpy(p, &scale, sizeof(scale));
      p[sizeof(scale)] = std::byte{7};
    }
  }
  return m;
}

/// `count` coefficients, spread evenly over the rows and at random inside them.
template <class T>
qwha::sparse_spectrum<T> random_spectrum(std::size_t out, std::size_t in, std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<std::size_t> offsets{0};
  std::vector<std::uint32_t> columns;
  std::uint64_t draw = 0;
  for (std::size_t r = 0; r < out; ++r) {
    const std::size_t here = std::min(in, count * (r + 1) / out - count * r / out);
    std::vector<std::uint32_t> row;
    while (row.size() < here) {
      while (row.size() < here) row.push_back(static_cast<std::uint32_t>(random.bits(draw++) % in));
      std::sort(row.begin(), row.end());
      row.erase(std::unique(row.begin(), row.end()), row.end());
    }
    columns.insert(columns.end(), row.begin(), row.end());
    offsets.push_back(columns.size());
  }
  std::vector<T> values;
  for (std::size_t k = 0; k < columns.size(); ++k) values.push_back(T(static_cast<float>(random.uniform(k)) - 0.5f));
  return {out, in, std::move(offsets), std::move(columns), std::move(values)};
}

struct shape {
  std::size_t out, in;
  std::string text() const { return std::to_string(out) + "x" + std::to_string(in); }
};
constexpr std::array<shape, 3> large{{{4096, 4096}, {14336, 4096}, {4096, 14336}}};
constexpr std::array<shape, 5> small{{{640, 1024}, {1024, 640}, {256, 640}, {2048, 640}, {640, 2048}}};
constexpr std::size_t ranks[] = {16, 64};

void require(qwha::status s) {
  if (s != qwha::status::ok) throw std::runtime_error(qwha::describe(s));
}

/// As many layers as cannot all stay in a cache of 32 MiB.
std::size_t layers_beyond_cache(const shape& n) {
  return std::max<std::size_t>(2, (std::size_t{80} << 20) / (n.out * n.in / 2));
}

/// Layers used in turn.
void one_token(bench::session& session, const shape& n) {
  const std::string name = "one token " + n.text();
  if (!session.wanted(name)) return;
  const std::size_t layers = layers_beyond_cache(n);
  std::vector<base_matrix> bases;
  for (std::size_t l = 0; l < layers; ++l) bases.push_back(random_base(n.out, n.in, l));
  const matrix x = random_matrix(1, n.in, 5);
  matrix y(1, n.out);
  std::vector<std::byte> memory(std::size_t{1} << 20);
  const qwha::adapter_options options{.path = qwha::adapter_path::activations, .workspace = memory};
  const auto bytes = static_cast<double>(bases[0].size_bytes());

  bench::contest c{.name = name, .parameter = "weights", .value = static_cast<double>(n.out * n.in)};
  c.reference = "base alone";
  c.bandwidth = "read";
  c.seconds = 3;
  std::size_t turn = 0;  // all contestants': none meets a layer that the one before it has just read
  c.add(
      "read",
      [&] {
        const base_matrix& b = bases[++turn % layers];
        const auto* words = reinterpret_cast<const std::uint64_t*>(b.codes(0));
        std::uint64_t sums[32] = {};
        for (std::size_t i = 0; i + 32 <= b.size_bytes() / 8; i += 32)
          for (std::size_t j = 0; j < 32; ++j) sums[j] += words[i + j];
        bench::computed(sums);
      },
      bytes);
  const auto add = [&]<class T>(const std::string& contestant, std::size_t rank, T) {
    auto adapters = std::make_shared<std::vector<adapter<T>>>();
    for (std::size_t l = 0; l < layers; ++l)
      adapters->emplace_back(bases[l], random_spectrum<T>(n.out, n.in, rank * (n.out + n.in), l));
    c.add(
        contestant, [&, adapters] { require((*adapters)[++turn % layers].forward(view(x), view(y), options, serial)); },
        bytes);
  };
  add("base alone", 0, 0.0f);
  for (const std::size_t rank : ranks) {
    add("float, p = " + std::to_string(rank) + " (in + out)", rank, 0.0f);
    add("half, p = " + std::to_string(rank) + " (in + out)", rank, qwha::half(0.0f));
  }
  session.run(c);
}

/// One layer with both adapters.
struct layer {
  layer(const shape& n, std::size_t r)
      : rank(r),
        base(random_base(n.out, n.in, 1)),
        none(base, random_spectrum<float>(n.out, n.in, 0, 1)),
        spectral(base, random_spectrum<float>(n.out, n.in, r * (n.out + n.in), 2)),
        a(random_matrix(r, n.in, 3)),
        b(random_matrix(n.out, r, 4)) {}
  matrix weights() const {
    matrix w(b.rows(), a.cols());
    base.dequantize(view(w));
    return w;
  }
  std::size_t rank;
  base_matrix base;
  adapter<float> none, spectral;
  matrix a, b;
};

struct batch {
  batch(const shape& n, std::size_t tokens)
      : x(random_matrix(tokens, n.in, 5)),
        dy(random_matrix(tokens, n.out, 6)),
        y(x.rows(), dy.cols()),
        dx(x.rows(), x.cols()) {}
  matrix x, dy, y, dx;
};

/// Scratch that an engine keeps from call to call: what the heap gives for a call comes with a fault for every page.
class workspace {
 public:
  std::span<std::byte> of(std::size_t bytes) {
    if (memory_.size() < bytes) memory_.resize(bytes);
    return memory_;
  }

 private:
  std::vector<std::byte> memory_;
};

constexpr eigen_product product{};
constexpr qwha::adapter_options by_activations{.path = qwha::adapter_path::activations};
constexpr qwha::adapter_options by_weights{.path = qwha::adapter_path::weights};

/// All contestants share the product with the base: Eigen on slabs, or the packed product for a single token. Layers
/// take turns, so that their weights come from memory; all contestants', so that none meets the last one's.
void forward(bench::session& session, const shape& n, std::size_t rank) {
  const std::string name = "forward " + n.text() + ", rank " + std::to_string(rank);
  if (!session.wanted(name)) return;
  std::vector<std::unique_ptr<layer>> layers;
  for (std::size_t i = 0; i < layers_beyond_cache(n); ++i) layers.push_back(std::make_unique<layer>(n, rank));
  std::size_t turn = 0;
  const auto next = [&]() -> const layer& { return *layers[++turn % layers.size()]; };
  for (const std::size_t tokens : {1, 8, 64, 512}) {
    batch d(n, tokens);
    workspace scratch;
    matrix hidden;
    bench::contest c{.name = name, .parameter = "tokens", .value = static_cast<double>(tokens)};
    c.reference = "base alone";
    c.seconds = tokens < 512 ? 1.5 : 5;
    const auto forward_of = [&](const adapter<float>& a, qwha::adapter_options options) {
      options.workspace = scratch.of(a.template workspace_bytes<eigen_product>(tokens, options));
      require(a.forward_with(product, view(d.x), view(d.y), options, serial));
    };
    const auto base = [&](const layer& l) { forward_of(l.none, by_activations); };
    c.add("base alone", [&] { base(next()); });
    const auto add = [&](const char* contestant, const qwha::adapter_options& options) {
      c.add(contestant, [&, options] { forward_of(next().spectral, options); });
    };
    add("activations", by_activations);
    add("weights", by_weights);
    add("qwha", {});
    c.add("LoRA, Eigen", [&] {
      const layer& l = next();
      base(l);
      hidden.noalias() = d.x * l.a.transpose();
      d.y.noalias() += hidden * l.b.transpose();
    });
    session.run(c);
  }
}

/// dc and dx against dA, dB and dx; the gradient through the base is one product of Eigen's in both.
void backward(bench::session& session, const shape& n, std::size_t rank) {
  const std::string name = "backward " + n.text() + ", rank " + std::to_string(rank);
  if (!session.wanted(name)) return;
  const layer l(n, rank);
  for (const std::size_t tokens : {8, 512}) {
    batch d(n, tokens);
    workspace scratch;
    std::vector<float> gradient(l.spectral.spectrum().size());
    matrix hidden, hidden_gradient, da = matrix::Zero(l.a.rows(), l.a.cols()),
                                    db = matrix::Zero(l.b.rows(), l.b.cols());
    bench::contest c{.name = name, .parameter = "tokens", .value = static_cast<double>(tokens)};
    c.reference = "LoRA, Eigen";
    c.seconds = tokens < 512 ? 2 : 5;
    const auto backward_of = [&](const adapter<float>& a, std::span<float> dvalues) {
      const qwha::adapter_options options{.workspace = scratch.of(a.backward_workspace_bytes(tokens))};
      require(a.backward_with(product, view(d.x), view(d.dy), view(d.dx), dvalues, options, serial));
    };
    c.add("base alone", [&] { backward_of(l.none, {}); });
    c.add("LoRA, Eigen", [&] {
      backward_of(l.none, {});
      hidden.noalias() = d.x * l.a.transpose();
      hidden_gradient.noalias() = d.dy * l.b;
      da.noalias() += hidden_gradient.transpose() * d.x;
      db.noalias() += d.dy.transpose() * hidden;
      d.dx.noalias() += hidden_gradient * l.a;
    });
    c.add("qwha", [&] { backward_of(l.spectral, gradient); });
    session.run(c);
  }
}

/// One thread and all of them, the same work: Eigen's products stay inside their slabs' threads.
void threads(bench::session& session, const shape& n, std::size_t rank) {
  const std::string name = "threads " + n.text() + ", rank " + std::to_string(rank);
  if (!session.wanted(name)) return;
  std::vector<std::unique_ptr<layer>> layers;
  for (std::size_t i = 0; i < layers_beyond_cache(n); ++i) layers.push_back(std::make_unique<layer>(n, rank));
  std::size_t turn = 0;
  for (const std::size_t tokens : {1, 8, 64, 512}) {
    batch d(n, tokens);
    workspace scratch;
    bench::contest c{.name = name, .parameter = "tokens", .value = static_cast<double>(tokens)};
    c.reference = "base alone, all threads";
    c.seconds = tokens < 512 ? 1 : 3;
    const auto add = [&](const char* contestant, adapter<float> layer::* which, const qwha::executor& where) {
      c.add(contestant, [&, which, where] {
        const adapter<float>& a = (*layers[++turn % layers.size()]).*which;
        const qwha::adapter_options options{.workspace = scratch.of(a.template workspace_bytes<eigen_product>(tokens))};
        require(a.forward_with(product, view(d.x), view(d.y), options, where));
      });
    };
    add("base alone, all threads", &layer::none, qwha::default_executor());
    add("qwha, all threads", &layer::spectral, qwha::default_executor());
    add("qwha, one thread", &layer::spectral, serial);
    session.run(c);
  }
}

void dense_forms(bench::session& session, const shape& n, std::size_t rank) {
  const std::string name = "dense forms " + n.text() + ", rank " + std::to_string(rank);
  if (!session.wanted(name)) return;
  const layer l(n, rank);
  matrix out(l.b.rows(), l.a.cols());
  const double bytes = static_cast<double>(n.out * n.in) * sizeof(float);
  bench::contest c{.name = name, .parameter = "weights", .value = static_cast<double>(n.out * n.in)};
  c.reference = "write";
  c.bandwidth = "write";
  c.seconds = 2;
  c.add("write", [&, v = 0.0f]() mutable { std::fill_n(out.data(), out.size(), v += 1); }, bytes);
  c.add("delta", [&] { l.spectral.delta(view(out), serial); }, bytes);
  c.add("merge", [&] { l.spectral.merge(view(out), serial); }, bytes);
  session.run(c);
}

/// A training step as the reference does it: dense delta, dense products, gradient of every weight. Its transforms are
/// ours, its products Eigen's; the base is already dense.
void step(bench::session& session, const shape& n, std::size_t rank) {
  const std::string name = "training step " + n.text() + ", rank " + std::to_string(rank);
  if (!session.wanted(name)) return;
  const layer l(n, rank);
  const auto& f = l.spectral.spectrum();
  const qwha::wht<> transform(n.in);
  const matrix weights = l.weights();
  matrix delta(weights.rows(), weights.cols());
  std::vector<float> gradient(f.size());
  for (const std::size_t tokens : {8, 512}) {
    batch d(n, tokens);
    bench::contest c{.name = name, .parameter = "tokens", .value = static_cast<double>(tokens)};
    c.reference = "qwha";
    c.seconds = tokens < 512 ? 3 : 8;
    c.add("qwha", [&] {
      require(l.spectral.forward_with(product, view(d.x), view(d.y), {}, serial));
      require(l.spectral.backward_with(product, view(d.x), view(d.dy), view(d.dx), gradient, {}, serial));
    });
    c.add("dense delta, Eigen", [&] {
      delta.setZero();
      for (std::size_t r = 0; r < n.out; ++r)
        for (std::size_t k = f.offsets()[r]; k < f.offsets()[r + 1]; ++k)
          delta.data()[r * n.in + f.columns()[k]] = f.values()[k];
      require(transform.apply_transpose(view(delta), qwha::scaling::orthonormal, serial));
      delta += weights;
      d.y.noalias() = d.x * delta.transpose();
      d.dx.noalias() = d.dy * delta;
      delta.noalias() = d.dy.transpose() * d.x;
      require(transform.apply(view(delta), qwha::scaling::orthonormal, serial));
      for (std::size_t r = 0; r < n.out; ++r)
        for (std::size_t k = f.offsets()[r]; k < f.offsets()[r + 1]; ++k)
          gradient[k] += delta.data()[r * n.in + f.columns()[k]];
    });
    session.run(c);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Eigen::setNbThreads(1);
  bench::session session("adapter", argc, argv);
  for (const shape& n : large) one_token(session, n);
  for (const shape& n : small) one_token(session, n);
  for (const std::size_t rank : ranks) {
    for (const shape& n : large) forward(session, n, rank);
    forward(session, small[3], rank);
    forward(session, small[4], rank);
    for (const shape& n : large) backward(session, n, rank);
    backward(session, small[3], rank);
    threads(session, large[0], rank);
    for (const shape& n : large) dense_forms(session, n, rank);
    step(session, large[0], rank);
  }
  return session.finish();
}
